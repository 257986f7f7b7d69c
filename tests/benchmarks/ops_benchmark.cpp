// Rates of the CPU backend's ops, on all cores that the process may use (taskset or OMP affinity
// narrow them).
//   ops_benchmark --benchmark_format=json --benchmark_filter=product
//
// Floors. A product can't be faster than "large product" of the same type in the same run (oneDNN's
// best: about 270 GFLOP/s in f32 and 530 in bf16 a Zen 5 core); aim at 85 % of it. Attention does
// 4·K operations for each pair of query and visible key, backward 10·K: the same rate is its floor,
// the softmax comes on top. Everything else is bound by memory: GB/s against "copy" of 256 MiB,
// which neither cache holds.
#include <benchmark/benchmark.h>

#include <cmath>
#include <memory>
#include <string>

#include "worker/backend/attention_band.h"
#include "worker/backend/ops.h"

namespace {

using namespace ropesweep::backend;
using benchmark::Counter;
using benchmark::State;

Backend& backend() {
  static const std::unique_ptr<Backend> instance = make_cpu_backend(0);
  return *instance;
}

Tensor random(Dtype dtype, Shape shape) {
  Tensor x = backend().allocate(dtype, std::move(shape));
  backend().random_normal(x, 1, 2, 1.0f);
  return x;
}

void count_flops(State& state, double flops) {
  state.counters["GFLOP/s"] =
      Counter(flops * 1e-9, Counter::kIsIterationInvariantRate, Counter::kIs1000);
}

void count_bytes(State& state, size_t bytes) {
  state.counters["GB/s"] = Counter(static_cast<double>(bytes) * 1e-9,
                                   Counter::kIsIterationInvariantRate, Counter::kIs1000);
}

enum class Product { forward, input, weight };

/// rows × inputs → outputs.
void product(State& state, Dtype dtype, Product kind, int64_t rows, int64_t inputs,
             int64_t outputs) {
  const Tensor a = random(dtype, {rows, inputs}), weight = random(dtype, {outputs, inputs});
  const Tensor out = random(dtype, {rows, outputs});
  const Tensor d_weight = random(Dtype::f32, {outputs, inputs});
  for (auto _ : state) {
    if (kind == Product::forward) backend().product(out, a, weight, false);
    if (kind == Product::input) backend().product_backward_input(a, out, weight, false);
    if (kind == Product::weight) backend().product_backward_weight(d_weight, out, a);
  }
  count_flops(state, 2.0 * static_cast<double>(rows * inputs * outputs));
  count_bytes(state, a.bytes() + weight.bytes() + out.bytes());
}

/// `distances`: of a bias, whose gradient is taken too; 0: none.
void attention(State& state, Dtype dtype, bool backward, AttentionShape shape, int64_t distances) {
  shape.scale = 1 / std::sqrt(static_cast<float>(shape.head_dim));
  const Tensor q = random(dtype, {shape.batch * shape.queries, shape.heads, shape.head_dim});
  const Tensor k = random(dtype, {shape.batch * shape.keys, shape.kv_heads, shape.head_dim});
  const Tensor v = random(dtype, k.shape()), out = random(dtype, q.shape());
  const Tensor d_out = random(dtype, q.shape()), d_q = random(dtype, q.shape());
  const Tensor d_k = random(dtype, k.shape()), d_v = random(dtype, k.shape());
  const Tensor lse = backend().allocate(Dtype::f32, {shape.batch, shape.heads, shape.queries});
  const Tensor bias = distances > 0 ? random(Dtype::f32, {shape.heads, distances}) : Tensor();
  const Tensor d_bias = distances > 0 ? random(Dtype::f32, bias.shape()) : Tensor();
  backend().attention(out, lse, q, k, v, shape, bias);
  for (auto _ : state) {
    if (backward) {
      backend().attention_backward(d_q, d_k, d_v, d_out, q, k, v, out, lse, shape, bias, d_bias);
    } else {
      backend().attention(out, lse, q, k, v, shape, bias);
    }
  }
  count_flops(state, (backward ? 10.0 : 4.0) * visible_pairs(shape) *
                         static_cast<double>(shape.batch * shape.heads * shape.head_dim));
  count_bytes(state, k.bytes() + v.bytes());
}

void rms_norm(State& state, Dtype dtype, bool backward) {
  constexpr int64_t kRows = 16384, kWidth = 576;
  const Tensor x = random(dtype, {kRows, kWidth}), residual = random(dtype, {kRows, kWidth});
  const Tensor out = random(dtype, {kRows, kWidth}), weight = random(dtype, {kWidth});
  const Tensor rstd = random(Dtype::f32, {kRows}), d_weight = random(Dtype::f32, {kWidth});
  for (auto _ : state) {
    if (backward) {
      backend().rms_norm_backward(out, d_weight, x, residual, rstd, weight);
    } else {
      backend().rms_norm(out, rstd, residual, x, weight, 1e-5f);
    }
  }
  count_bytes(state, 4 * x.bytes());
}

void rope(State& state, Dtype dtype) {
  constexpr int64_t kRows = 16384, kHeads = 9, kHeadDim = 64;
  const Tensor x = random(dtype, {kRows, kHeads, kHeadDim});
  const RopeTensors table{random(Dtype::f32, {kRows, kHeadDim / 2}),
                          random(Dtype::f32, {kRows, kHeadDim / 2})};
  const Tensor out = random(dtype, x.shape());
  for (auto _ : state) backend().rope(out, x, table, 0, kRows);
  count_bytes(state, 2 * x.bytes() + 2 * table.cos.bytes());
}

void swiglu(State& state, Dtype dtype, bool backward) {
  const Shape shape = {16384, 1536};
  const Tensor gate = random(dtype, shape), up = random(dtype, shape), out = random(dtype, shape);
  const Tensor d_gate = random(dtype, shape), d_up = random(dtype, shape);
  for (auto _ : state) {
    if (backward) {
      backend().swiglu_backward(d_gate, d_up, out, gate, up);
    } else {
      backend().swiglu(out, gate, up);
    }
  }
  count_bytes(state, (backward ? 5 : 3) * gate.bytes());
}

void cross_entropy(State& state, bool backward) {
  const Tensor logits = random(Dtype::f32, {512, 49152});
  const Tensor targets = backend().allocate(Dtype::i32, {512});
  backend().zero(targets);
  const Tensor nll = backend().allocate(Dtype::f32, {512});
  const Tensor d_logits = backend().allocate(Dtype::bf16, logits.shape());
  for (auto _ : state) {
    if (backward) {
      backend().cross_entropy_backward(d_logits, logits, targets, 1.0f);
    } else {
      backend().cross_entropy(nll, logits, targets);
    }
  }
  count_bytes(state, logits.bytes() + (backward ? d_logits.bytes() : 0));
}

void adamw(State& state) {
  const Shape shape = {16, 1024, 1024};
  const Tensor master = random(Dtype::f32, shape), m = random(Dtype::f32, shape);
  const Tensor gradient = random(Dtype::f32, shape), weight = random(Dtype::bf16, shape);
  const Tensor v = backend().allocate(Dtype::f32, shape);
  backend().zero(v);
  for (auto _ : state) {
    backend().adamw(weight, master, m, v, gradient, {.learning_rate = 1e-3f, .step = 3});
  }
  count_bytes(state, 7 * master.bytes() + weight.bytes());
}

void copy(State& state) {
  const Tensor from = random(Dtype::f32, {64, 1024, 1024});
  const Tensor to = random(Dtype::f32, from.shape());
  for (auto _ : state) backend().copy(to, from);
  count_bytes(state, 2 * from.bytes());
}

template <typename... Arguments>
void measure(const std::string& name, Arguments... arguments) {
  benchmark::RegisterBenchmark(name.c_str(), arguments...)
      ->UseRealTime()
      ->MinTime(0.1)
      ->Unit(benchmark::kMicrosecond);
}

void register_products(Dtype dtype) {
  const std::string type = name_of(dtype);
  measure("large product/" + type, product, dtype, Product::forward, 4096, 2048, 2048);
  struct Layer {
    const char* name;
    int64_t rows, inputs, outputs;
  };
  // SmolLM2-135M at 4,096 tokens, and at 512; the demo's model at 16 × 256 tokens; one token.
  const Layer layers[] = {{"smollm2 q", 4096, 576, 576},     {"smollm2 k", 4096, 576, 192},
                          {"smollm2 gate", 4096, 576, 1536}, {"smollm2 down", 4096, 1536, 576},
                          {"smollm2 head", 512, 576, 49152}, {"smollm2 gate 512", 512, 576, 1536},
                          {"tiny q", 4096, 128, 128},        {"tiny gate", 4096, 128, 344},
                          {"tiny down", 4096, 344, 128},     {"tiny head", 4096, 128, 1024}};
  for (const Layer& x : layers) {
    const std::string name = std::string("product/") + x.name + "/" + type;
    measure(name + "/forward", product, dtype, Product::forward, x.rows, x.inputs, x.outputs);
    measure(name + "/input", product, dtype, Product::input, x.rows, x.inputs, x.outputs);
    measure(name + "/weight", product, dtype, Product::weight, x.rows, x.inputs, x.outputs);
  }
  measure("decode product/smollm2 gate/" + type, product, dtype, Product::forward, 1, 576, 1536);
  measure("decode product/smollm2 head/" + type, product, dtype, Product::forward, 1, 576, 49152);
}

void register_attention(Dtype dtype) {
  const std::string type = name_of(dtype);
  for (const int64_t tokens : {512, 1024, 4096, 16384}) {
    const AttentionShape shape{1, tokens, tokens, 9, 3, 64, 0};
    const std::string name = "attention/9:3x64/" + std::to_string(tokens) + "/" + type;
    measure(name + "/forward", attention, dtype, false, shape, 0);
    measure(name + "/backward", attention, dtype, true, shape, 0);
  }
  AttentionShape window{1, 16384, 16384, 9, 3, 64, 0};
  window.farthest = 1024;
  measure("attention/window 1024 of 16384/" + type + "/forward", attention, dtype, false, window,
          0);
  measure("attention/window 1024 of 16384/" + type + "/backward", attention, dtype, true, window,
          0);
  const AttentionShape biased{1, 4096, 4096, 9, 3, 64, 0};
  measure("attention/biased 4096/" + type + "/forward", attention, dtype, false, biased, 4096);
  measure("attention/biased 4096/" + type + "/backward", attention, dtype, true, biased, 4096);
  const AttentionShape tiny{16, 256, 256, 4, 4, 32, 0};
  measure("attention/tiny/" + type + "/forward", attention, dtype, false, tiny, 0);
  measure("attention/tiny/" + type + "/backward", attention, dtype, true, tiny, 0);
  const AttentionShape decode{1, 1, 16384, 9, 3, 64, 0};
  measure("attention/decode 16384/" + type, attention, dtype, false, decode, 0);
}

}  // namespace

int main(int argc, char** argv) {
  for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) {
    const std::string type = name_of(dtype);
    register_products(dtype);
    register_attention(dtype);
    measure("rms_norm/" + type + "/forward", rms_norm, dtype, false);
    measure("rms_norm/" + type + "/backward", rms_norm, dtype, true);
    measure("rope/" + type, rope, dtype);
    measure("swiglu/" + type + "/forward", swiglu, dtype, false);
    measure("swiglu/" + type + "/backward", swiglu, dtype, true);
  }
  measure("cross_entropy/forward", cross_entropy, false);
  measure("cross_entropy/backward", cross_entropy, true);
  measure("adamw", adamw);
  measure("copy", copy);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::AddCustomContext("backend", backend().description());
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
