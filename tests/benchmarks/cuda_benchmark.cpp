// Rates of the CUDA backend's ops at the shapes of a 7B model, on the first device; without one it
// says so and does nothing.
//   cuda_benchmark --benchmark_format=json --benchmark_filter=attention
//
// Floors, of an H200 (NVIDIA's datasheet): 989 TFLOP/s in bf16 without sparsity, 67 in f32, 4.8
// TB/s. No product comes closer to the first than some 80 %: power limits it. What is bound by
// memory is measured against "copy" of 2 GiB in the same run. Attention does 4·K operations for
// each pair of query and visible key, backward 10·K.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "worker/backend/checked_backend.h"
#include "worker/backend/cuda/cuda_backend.h"
#include "worker/backend/cuda/make_backend.h"

namespace {

using namespace ropesweep::backend;
using benchmark::Counter;
using benchmark::State;

/// Calls between two waits for the device, so that starting them costs nothing.
constexpr int kCalls = 16;
constexpr int64_t kWidth = 4096, kHidden = 11008, kVocabulary = 32000, kHeads = 32, kHeadDim = 128;
constexpr int64_t kRows = 8192;

Backend& backend() {
  static const std::unique_ptr<Backend> instance = checked(cuda::make_backend(0));
  return *instance;
}

Backend& own_kernels() {
  static const std::unique_ptr<Backend> instance =
      checked(std::make_unique<cuda::CudaBackend>(0, cuda::Attention::own_kernels));
  return *instance;
}

/// Normal numbers, made on the host: a few million, over and over.
Tensor random(Dtype dtype, const Shape& shape) {
  constexpr int64_t kMade = int64_t{4} << 20;
  static const Tensor made = [] {
    const Tensor x = backend().allocate(Dtype::f32, {kMade});
    backend().random_normal(x, 1, 2, 1.0f);
    return x;
  }();
  const Tensor x = backend().allocate(dtype, shape);
  const Tensor flat = x.reshape({x.elements()});
  for (int64_t first = 0; first < x.elements(); first += kMade) {
    const int64_t count = std::min(kMade, x.elements() - first);
    backend().copy(flat.rows(first, count), made.rows(0, count));
  }
  return x;
}

template <typename Op>
void repeat(State& state, Backend& on, double flops, size_t bytes, Op op) {
  op();
  on.synchronize();
  for (auto _ : state) {
    for (int i = 0; i < kCalls; ++i) op();
    on.synchronize();
  }
  const auto rate = [&](double count) {
    return Counter(kCalls * count, Counter::kIsIterationInvariantRate, Counter::kIs1000);
  };
  if (flops > 0) state.counters["TFLOP/s"] = rate(flops * 1e-12);
  state.counters["GB/s"] = rate(static_cast<double>(bytes) * 1e-9);
}

enum class Product { forward, input, weight };

void product(State& state, Dtype dtype, Product kind, int64_t rows, int64_t inputs,
             int64_t outputs) {
  const Tensor a = random(dtype, {rows, inputs}), weight = random(dtype, {outputs, inputs});
  const Tensor out = random(dtype, {rows, outputs});
  const Tensor d_weight = random(Dtype::f32, {outputs, inputs});
  repeat(state, backend(), 2.0 * static_cast<double>(rows * inputs * outputs),
         a.bytes() + weight.bytes() + out.bytes(), [&] {
           if (kind == Product::forward) backend().product(out, a, weight, false);
           if (kind == Product::input) backend().product_backward_input(a, out, weight, false);
           if (kind == Product::weight) backend().product_backward_weight(d_weight, out, a);
         });
}

void attention(State& state, Backend& on, Dtype dtype, bool backward, AttentionShape shape) {
  shape.scale = 1 / std::sqrt(static_cast<float>(shape.head_dim));
  const Tensor q = random(dtype, {shape.batch * shape.queries, shape.heads, shape.head_dim});
  const Tensor k = random(dtype, {shape.batch * shape.keys, shape.kv_heads, shape.head_dim});
  const Tensor v = random(dtype, k.shape()), out = random(dtype, q.shape());
  const Tensor d_out = random(dtype, q.shape()), d_q = random(dtype, q.shape());
  const Tensor d_k = random(dtype, k.shape()), d_v = random(dtype, k.shape());
  const Tensor lse = backend().allocate(Dtype::f32, {shape.batch, shape.heads, shape.queries});
  backend().synchronize();
  on.attention(out, lse, q, k, v, shape);
  const double visible = 0.5 * static_cast<double>(shape.queries) *
                         static_cast<double>(2 * shape.keys - shape.queries + 1);
  const double flops = (backward ? 10.0 : 4.0) * visible *
                       static_cast<double>(shape.batch * shape.heads * shape.head_dim);
  repeat(state, on, flops, k.bytes() + v.bytes(), [&] {
    if (backward) {
      on.attention_backward(d_q, d_k, d_v, d_out, q, k, v, out, lse, shape);
    } else {
      on.attention(out, lse, q, k, v, shape);
    }
  });
}

void rms_norm(State& state, bool backward) {
  const Tensor x = random(Dtype::bf16, {kRows, kWidth}), residual = random(Dtype::bf16, x.shape());
  const Tensor out = random(Dtype::bf16, x.shape()), weight = random(Dtype::bf16, {kWidth});
  const Tensor rstd = random(Dtype::f32, {kRows}), d_weight = random(Dtype::f32, {kWidth});
  repeat(state, backend(), 0, 4 * x.bytes(), [&] {
    if (backward) {
      backend().rms_norm_backward(out, d_weight, x, residual, rstd, weight);
    } else {
      backend().rms_norm(out, rstd, residual, x, weight, 1e-5f);
    }
  });
}

void rope(State& state) {
  const Tensor x = random(Dtype::bf16, {kRows, kHeads, kHeadDim});
  const RopeTensors table{random(Dtype::f32, {kRows, kHeadDim / 2}),
                          random(Dtype::f32, {kRows, kHeadDim / 2})};
  const Tensor out = random(Dtype::bf16, x.shape());
  repeat(state, backend(), 0, 2 * x.bytes() + 2 * table.cos.bytes(),
         [&] { backend().rope(out, x, table, 0, kRows); });
}

void swiglu(State& state, bool backward) {
  const Shape shape = {kRows, kHidden};
  const Tensor gate = random(Dtype::bf16, shape), up = random(Dtype::bf16, shape);
  const Tensor out = random(Dtype::bf16, shape), d_gate = random(Dtype::bf16, shape);
  const Tensor d_up = random(Dtype::bf16, shape);
  repeat(state, backend(), 0, (backward ? 5 : 3) * gate.bytes(), [&] {
    if (backward) {
      backend().swiglu_backward(d_gate, d_up, out, gate, up);
    } else {
      backend().swiglu(out, gate, up);
    }
  });
}

void embedding(State& state, bool backward) {
  const Tensor table = random(Dtype::bf16, {kVocabulary, kWidth});
  const Tensor d_table = random(Dtype::f32, table.shape());
  const Tensor out = random(Dtype::bf16, {kRows, kWidth});
  const Tensor ids = backend().allocate(Dtype::i32, {kRows});
  std::vector<int32_t> host(kRows);
  // Distinct ones and a frequent one, as a text has them.
  for (size_t i = 0; i < host.size(); ++i) {
    host[i] = i % 20 == 0 ? 7 : static_cast<int32_t>(i * 7919 % kVocabulary);
  }
  backend().upload(ids, host.data());
  repeat(state, backend(), 0, backward ? 5 * out.bytes() : 2 * out.bytes(), [&] {
    if (backward) {
      backend().embedding_backward(d_table, out, ids);
    } else {
      backend().embedding(out, table, ids);
    }
  });
}

void cross_entropy(State& state, bool backward) {
  const Tensor logits = random(Dtype::f32, {4096, kVocabulary});
  const Tensor targets = backend().allocate(Dtype::i32, {4096});
  backend().zero(targets);
  const Tensor nll = backend().allocate(Dtype::f32, {4096});
  const Tensor d_logits = backend().allocate(Dtype::bf16, logits.shape());
  repeat(state, backend(), 0, logits.bytes() + (backward ? d_logits.bytes() : 0), [&] {
    if (backward) {
      backend().cross_entropy_backward(d_logits, logits, targets, 1.0f);
    } else {
      backend().cross_entropy(nll, logits, targets);
    }
  });
}

void adamw(State& state) {
  const Shape shape = {256, 1024, 1024};
  const Tensor master = random(Dtype::f32, shape), m = random(Dtype::f32, shape);
  const Tensor gradient = random(Dtype::f32, shape), weight = random(Dtype::bf16, shape);
  const Tensor v = backend().allocate(Dtype::f32, shape);
  backend().zero(v);
  repeat(state, backend(), 0, 7 * master.bytes() + weight.bytes(), [&] {
    backend().adamw(weight, master, m, v, gradient, {.learning_rate = 1e-3f, .step = 3});
  });
}

void sum_of_squares(State& state) {
  const Tensor x = random(Dtype::f32, {256, 1024, 1024});
  repeat(state, backend(), 0, x.bytes(),
         [&] { benchmark::DoNotOptimize(backend().sum_of_squares({x})); });
}

void copy(State& state) {
  const Tensor from = random(Dtype::f32, {256, 1024, 1024});
  const Tensor to = random(Dtype::f32, from.shape());
  repeat(state, backend(), 0, 2 * from.bytes(), [&] { backend().copy(to, from); });
}

/// A token of greedy decoding, as worker/llama/decode.cpp has it, in the shape of a Llama of 1B,
/// after 2048 of the 4096 tokens that there is room for.
class DecodedToken {
 public:
  DecodedToken() {
    for (int layer = 0; layer < kLayers; ++layer) {
      layers_.push_back({random(Dtype::bf16, {kD}), random(Dtype::bf16, {kD}),
                         random(Dtype::bf16, {kD, kD}), random(Dtype::bf16, {kKv, kD}),
                         random(Dtype::bf16, {kKv, kD}), random(Dtype::bf16, {kD, kD}),
                         random(Dtype::bf16, {kF, kD}), random(Dtype::bf16, {kF, kD}),
                         random(Dtype::bf16, {kD, kF}), random(Dtype::bf16, {kRoom, kKv}),
                         random(Dtype::bf16, {kRoom, kKv})});
    }
    const int32_t past = 2048;
    backend().zero(id_);
    backend().upload(past_, &past);
  }

  size_t bytes() const {
    size_t sum = embedding_.bytes();
    for (const Layer& layer : layers_) {
      for (const Tensor& w : {layer.query, layer.key, layer.value, layer.attention_output,
                              layer.gate, layer.up, layer.down, layer.keys}) {
        sum += w.bytes();  // of keys and values half is read
      }
    }
    return sum;
  }

  void operator()() const {
    const RopeTensors angles{rows(Dtype::f32, kK / 2), rows(Dtype::f32, kK / 2)};
    backend().embedding(angles.cos, table_.cos, past_);
    backend().embedding(angles.sin, table_.sin, past_);
    const Tensor residual = rows(Dtype::bf16, kD), rstd = backend().allocate(Dtype::f32, {1});
    backend().embedding(residual, embedding_, id_);
    for (const Layer& w : layers_) {
      attend(w, residual, rstd, angles);
      const Tensor normed = rows(Dtype::bf16, kD);
      const Tensor gate = rows(Dtype::bf16, kF), up = rows(Dtype::bf16, kF);
      backend().rms_norm(normed, rstd, residual, Tensor(), w.mlp_norm, 1e-5f);
      backend().product(gate, normed, w.gate, false);
      backend().product(up, normed, w.up, false);
      backend().swiglu(gate, gate, up);
      backend().product(residual, gate, w.down, true);
    }
    const Tensor normed = rows(Dtype::bf16, kD), logits = rows(Dtype::f32, kV);
    backend().rms_norm(normed, rstd, residual, Tensor(), layers_[0].mlp_norm, 1e-5f);
    backend().product(logits, normed, embedding_, false);
    backend().argmax(id_, logits);
  }

 private:
  static constexpr int kLayers = 16;
  static constexpr int64_t kD = 2048, kF = 8192, kH = 32, kG = 8, kK = 64, kV = 128256;
  static constexpr int64_t kRoom = 4096, kKv = kG * kK;
  struct Layer {
    Tensor attention_norm, mlp_norm, query, key, value, attention_output, gate, up, down;
    Tensor keys, values;
  };

  static Tensor rows(Dtype dtype, int64_t columns) {
    return backend().allocate(dtype, {1, columns});
  }

  void attend(const Layer& w, const Tensor& residual, const Tensor& rstd,
              const RopeTensors& angles) const {
    const Tensor normed = rows(Dtype::bf16, kD), query = rows(Dtype::bf16, kD);
    const Tensor key = rows(Dtype::bf16, kKv), value = rows(Dtype::bf16, kKv);
    backend().rms_norm(normed, rstd, residual, Tensor(), w.attention_norm, 1e-5f);
    backend().product(query, normed, w.query, false);
    backend().product(key, normed, w.key, false);
    backend().product(value, normed, w.value, false);
    const Tensor q = query.reshape({1, kH, kK}), k = key.reshape({1, kG, kK});
    backend().rope(q, q, angles, 0, 1);
    backend().rope(k, k, angles, 0, 1);
    backend().scatter(w.keys, key, past_);
    backend().scatter(w.values, value, past_);
    const Tensor attended = rows(Dtype::bf16, kD);
    const Tensor lse = backend().allocate(Dtype::f32, {1, kH, 1});
    AttentionShape shape{1, 1, kRoom, kH, kG, kK, 0.125f};
    shape.past = past_;
    backend().attention(attended.reshape({1, kH, kK}), lse, q, w.keys.reshape({kRoom, kG, kK}),
                        w.values.reshape({kRoom, kG, kK}), shape);
    backend().product(residual, attended, w.attention_output, true);
  }

  std::vector<Layer> layers_;
  Tensor embedding_ = random(Dtype::bf16, {kV, kD});
  RopeTensors table_{random(Dtype::f32, {kRoom, kK / 2}), random(Dtype::f32, {kRoom, kK / 2})};
  Tensor id_ = backend().allocate(Dtype::i32, {1}), past_ = backend().allocate(Dtype::i32, {1});
};

/// The device is waited for after each token, as a decoder does. Weights and keys are read once.
void decode(State& state, bool recorded) {
  const DecodedToken token;
  const auto recording = backend().record(token);
  backend().synchronize();
  for (auto _ : state) {
    recorded ? recording->replay() : token();
    backend().synchronize();
  }
  state.counters["GB/s"] = Counter(static_cast<double>(token.bytes()) * 1e-9,
                                   Counter::kIsIterationInvariantRate, Counter::kIs1000);
}

template <typename... Arguments>
void measure(const std::string& name, Arguments... arguments) {
  benchmark::RegisterBenchmark(name.c_str(), arguments...)
      ->UseRealTime()
      ->MinTime(0.1)
      ->Unit(benchmark::kMicrosecond);
}

void register_products() {
  struct Layer {
    const char* name;
    int64_t rows, inputs, outputs;
  };
  const Layer layers[] = {{"q", kRows, kWidth, kWidth},
                          {"gate", kRows, kWidth, kHidden},
                          {"down", kRows, kHidden, kWidth},
                          {"head", 2048, kWidth, kVocabulary}};
  for (const Layer& x : layers) {
    const std::string name = std::string("product/7b ") + x.name + "/bf16";
    const auto bf16 = Dtype::bf16;
    measure(name + "/forward", product, bf16, Product::forward, x.rows, x.inputs, x.outputs);
    measure(name + "/input", product, bf16, Product::input, x.rows, x.inputs, x.outputs);
    measure(name + "/weight", product, bf16, Product::weight, x.rows, x.inputs, x.outputs);
    measure(std::string("decode product/7b ") + x.name, product, bf16, Product::forward, 1,
            x.inputs, x.outputs);
  }
  measure("product/7b q/f32/forward", product, Dtype::f32, Product::forward, kRows, kWidth, kWidth);
}

void register_attention() {
  for (const int64_t kv_heads : {kHeads, int64_t{8}}) {
    for (const int64_t tokens : {4096, 8192, 16384, 32768}) {
      const AttentionShape shape{1, tokens, tokens, kHeads, kv_heads, kHeadDim, 0};
      const std::string name =
          "attention/32:" + std::to_string(kv_heads) + "x128/" + std::to_string(tokens);
      measure(
          name + "/forward",
          [](State& state, AttentionShape s) {
            attention(state, backend(), Dtype::bf16, false, s);
          },
          shape);
      measure(
          name + "/backward",
          [](State& state, AttentionShape s) { attention(state, backend(), Dtype::bf16, true, s); },
          shape);
    }
    const AttentionShape decode{1, 1, 16384, kHeads, kv_heads, kHeadDim, 0};
    measure(
        "attention/32:" + std::to_string(kv_heads) + "x128/decode 16384",
        [](State& state, AttentionShape s) { attention(state, backend(), Dtype::bf16, false, s); },
        decode);
  }
  for (const bool backward : {false, true}) {
    measure(
        std::string("own attention/32:8x128/4096/") + (backward ? "backward" : "forward"),
        [](State& state, bool of_gradient) {
          attention(state, own_kernels(), Dtype::bf16, of_gradient,
                    {1, 4096, 4096, kHeads, 8, kHeadDim, 0});
        },
        backward);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (cuda::device_count() == 0) {
    std::puts("cuda_benchmark: no CUDA device here");
    return 0;
  }
  register_products();
  register_attention();
  for (const bool backward : {false, true}) {
    const std::string way = backward ? "/backward" : "/forward";
    measure("rms_norm" + way, rms_norm, backward);
    measure("swiglu" + way, swiglu, backward);
    measure("embedding" + way, embedding, backward);
    measure("cross_entropy" + way, cross_entropy, backward);
  }
  for (const bool recorded : {false, true}) {
    measure(std::string("decode token/1b/") + (recorded ? "recorded" : "op by op"), decode,
            recorded);
  }
  measure("rope", rope);
  measure("adamw", adamw);
  measure("sum_of_squares", sum_of_squares);
  measure("copy", copy);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::AddCustomContext("backend", backend().description());
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
