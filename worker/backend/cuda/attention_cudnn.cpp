// Attention by cuDNN: graphs of one operation, built and compiled once a shape, then called with
// pointers.
//
// Why through NVIDIA's C++ front end (headers alone, MIT), and not cuDNN's C API: that has an
// operation for attention too (CUDNN_BACKEND_OPERATION_SDPA_FWD_DESCRIPTOR, …_BWD_…), but up to
// cuDNN 9.20 without a causal mask. The pattern of some thirty operations that cuDNN recognises as
// causal attention differs from release to release; the front end is what follows it. It is pinned
// by fetch_cudnn_frontend.sh to 1.17, the last series that needs neither NVRTC nor the driver's
// library at link time.
//
// Which calls go to cuDNN: causal ones without a bias, bf16, head dimensions that are multiples of
// 8, more than 8 queries, and what cuDNN itself says it supports. A plan belongs to one shape, S
// included; a decoder's S grows with each token, so its calls stay with our own kernels and no plan
// is ever built for them. Prompts and training have few shapes.
//
// Determinism: the engine is the one that cuDNN recommends for a sequence of kManyTokens, where it
// also runs the shape at hand, so that a query's sums don't depend on how many others there are.
// The backward pass is cuDNN's deterministic one. It keeps dP, bf16 [B, H, T, S], in its
// workspace: heads are taken a few groups at a time, so that this stays below kWorkspaceTarget.
//
// Statistics: cuDNN's are the natural log-sum-exp of scaled scores, [B, H, T, 1] in f32: our lse.
//
// Letters: B batch · T queries · S keys · H heads · G key-value heads · K head dimension
#include "worker/backend/cuda/attention_cudnn.h"

#include <cudnn.h>
#include <cudnn_frontend.h>

#include <map>
#include <optional>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

#include "worker/backend/attention_band.h"
#include "worker/backend/cuda/runtime.h"

namespace ropesweep::backend::cuda {

namespace {

namespace fe = cudnn_frontend;
using fe::graph::Graph;
using fe::graph::Tensor_attributes;
using TensorAttributes = std::shared_ptr<Tensor_attributes>;

/// The length whose recommended engine is taken for all lengths.
constexpr int64_t kManyTokens = 4096;
/// What the backward pass's workspace should stay below, where one group of heads does; beyond
/// kWorkspaceLimit our own kernels run.
constexpr double kWorkspaceTarget = 0x1p31, kWorkspaceLimit = 40e9;
/// Plans kept; evaluations of many lengths must not fill the device with compiled kernels.
constexpr size_t kMostPlans = 256;

/// Names of a graph's tensors.
enum Uid : int64_t { kQ = 1, kK, kV, kOut, kLse, kDOut, kDQ, kDK, kDV };

/// A graph's shape; `batch`, `heads` and `kv_heads` of it may be part of the tensors'.
struct PlanShape {
  AttentionShape whole;
  int64_t batch, kv_heads;
  bool backward;

  int64_t heads() const { return kv_heads * (whole.heads / whole.kv_heads); }
  auto key() const {
    return std::tuple(whole.batch, whole.queries, whole.keys, whole.heads, whole.kv_heads,
                      whole.head_dim, whole.scale, backward);
  }
};
using PlanKey = decltype(std::declval<PlanShape>().key());

/// Thrown inside this file where cuDNN refuses a shape.
struct Unsupported {};

void need(const fe::error_t& error) {
  if (error.is_bad()) throw Unsupported();
}

/// [B, heads, rows, K] in memory [B, rows, all heads, K].
TensorAttributes of_rows(Graph& graph, const char* name, Uid uid, int64_t batch, int64_t heads,
                         int64_t rows, int64_t all_heads, int64_t head_dim) {
  return graph.tensor(
      Tensor_attributes()
          .set_name(name)
          .set_uid(uid)
          .set_dim({batch, heads, rows, head_dim})
          .set_stride({rows * all_heads * head_dim, head_dim, all_heads * head_dim, 1}));
}

void set_output(const TensorAttributes& x, Uid uid, const TensorAttributes& like) {
  x->set_output(true).set_uid(uid).set_dim(like->get_dim()).set_stride(like->get_stride());
}

/// The operation of a shape, and its operands.
std::shared_ptr<Graph> graph_of(const PlanShape& p) {
  const AttentionShape& s = p.whole;
  auto graph = std::make_shared<Graph>();
  graph->set_io_data_type(fe::DataType_t::BFLOAT16)
      .set_intermediate_data_type(fe::DataType_t::FLOAT)
      .set_compute_data_type(fe::DataType_t::FLOAT);
  const auto queries = [&](const char* name, Uid uid) {
    return of_rows(*graph, name, uid, p.batch, p.heads(), s.queries, s.heads, s.head_dim);
  };
  const auto keys = [&](const char* name, Uid uid) {
    return of_rows(*graph, name, uid, p.batch, p.kv_heads, s.keys, s.kv_heads, s.head_dim);
  };
  const TensorAttributes q = queries("q", kQ), k = keys("k", kK), v = keys("v", kV);
  const std::vector<int64_t> lse_dim = {p.batch, p.heads(), s.queries, 1};
  const std::vector<int64_t> lse_stride = {p.heads() * s.queries, s.queries, 1, 1};
  // Bottom right: query t sees keys 0 … S − T + t.
  if (!p.backward) {
    auto [out, lse] = graph->sdpa(q, k, v,
                                  fe::graph::SDPA_attributes()
                                      .set_name("attention")
                                      .set_generate_stats(true)
                                      .set_attn_scale(s.scale)
                                      .set_diagonal_alignment(fe::DiagonalAlignment_t::BOTTOM_RIGHT)
                                      .set_diagonal_band_right_bound(0));
    set_output(out, kOut, q);
    lse->set_output(true).set_uid(kLse).set_data_type(fe::DataType_t::FLOAT);
    lse->set_dim(lse_dim).set_stride(lse_stride);
    return graph;
  }
  const TensorAttributes out = queries("out", kOut), d_out = queries("d_out", kDOut);
  const TensorAttributes lse = graph->tensor(Tensor_attributes()
                                                 .set_name("lse")
                                                 .set_uid(kLse)
                                                 .set_data_type(fe::DataType_t::FLOAT)
                                                 .set_dim(lse_dim)
                                                 .set_stride(lse_stride));
  auto [d_q, d_k, d_v] =
      graph->sdpa_backward(q, k, v, out, d_out, lse,
                           fe::graph::SDPA_backward_attributes()
                               .set_name("attention_backward")
                               .set_attn_scale(s.scale)
                               .set_diagonal_alignment(fe::DiagonalAlignment_t::BOTTOM_RIGHT)
                               .set_diagonal_band_right_bound(0)
                               .set_deterministic_algorithm(true));
  set_output(d_q, kDQ, q);
  set_output(d_k, kDK, k);
  set_output(d_v, kDV, k);
  return graph;
}

/// The graph with the engines that cuDNN recommends, best first.
std::shared_ptr<Graph> graph_with_engines(const PlanShape& p, cudnnHandle_t handle) {
  auto graph = graph_of(p);
  need(graph->validate());
  need(graph->build_operation_graph(handle));
  need(graph->create_execution_plans({fe::HeurMode_t::A}));
  return graph;
}

std::string engine_name(const Graph& graph, int64_t index) {
  std::string name;
  return graph.get_plan_name_at_index(index, name).is_good() ? name : std::string();
}

int64_t ceil_to(int64_t x, int64_t step) { return (x + step - 1) / step * step; }

/// Part of a batch and its heads that one call of a backward plan takes, so that dP of them is not
/// too large. Statistics must be dense in a call: heads are divided only where the batch is.
PlanShape backward_part(const AttentionShape& s) {
  const int64_t group = s.heads / s.kv_heads;
  const auto bytes = [&](int64_t batch, int64_t kv_heads) {
    return 2.0 * static_cast<double>(batch * kv_heads * group) *
           static_cast<double>(ceil_to(s.queries, 64)) * static_cast<double>(ceil_to(s.keys, 128));
  };
  if (bytes(s.batch, s.kv_heads) <= kWorkspaceTarget) return {s, s.batch, s.kv_heads, true};
  int64_t kv_heads = s.kv_heads;
  while (kv_heads > 1 && (s.kv_heads % kv_heads != 0 || bytes(1, kv_heads) > kWorkspaceTarget)) {
    --kv_heads;
  }
  if (bytes(1, kv_heads) > kWorkspaceLimit) throw Unsupported();
  return {s, 1, kv_heads, true};
}

struct Plan {
  PlanShape shape;
  std::shared_ptr<Graph> graph;
  size_t workspace = 0;
  std::string name;
};

}  // namespace

struct CudnnAttention::State {
  State(cudaStream_t on, std::shared_ptr<MemoryPool> memory)
      : stream(on), pool(std::move(memory)) {}
  ~State() {
    plans.clear();
    if (handle != nullptr) static_cast<void>(cudnnDestroy(handle));
  }

  /// cuDNN's handle, made when first asked for. Errors: Unsupported when cuDNN doesn't start.
  cudnnHandle_t started() {
    if (handle != nullptr) return handle;
    if (broken || cudnnCreate(&handle) != CUDNN_STATUS_SUCCESS) {
      handle = nullptr;
      broken = true;
      throw Unsupported();
    }
    if (cudnnSetStream(handle, stream) != CUDNN_STATUS_SUCCESS) {
      throw DeviceError("cudnn: setting the stream");
    }
    return handle;
  }

  /// The engine for all lengths of the same heads; empty where there is none for kManyTokens.
  const std::string& engine_for(const AttentionShape& s, bool backward) {
    const std::tuple key(s.heads, s.kv_heads, s.head_dim, backward);
    const auto known = engines.find(key);
    if (known != engines.end()) return known->second;
    AttentionShape many = s;
    many.batch = 1;
    many.queries = many.keys = kManyTokens;
    std::string name;
    try {
      const PlanShape shape =
          backward ? backward_part(many) : PlanShape{many, 1, s.kv_heads, false};
      name = engine_name(*graph_with_engines(shape, started()), 0);
    } catch (const Unsupported&) {
    }
    return engines.emplace(key, name).first->second;
  }

  Plan build(const PlanShape& shape) {
    const auto graph = graph_with_engines(shape, started());
    const std::string& wanted = engine_for(shape.whole, shape.backward);
    const int64_t count = graph->get_execution_plan_count();
    // First the engine wanted, then the others as recommended.
    std::vector<int64_t> order;
    for (int64_t i = 0; i < count; ++i) {
      order.insert(engine_name(*graph, i) == wanted ? order.begin() : order.end(), i);
    }
    for (const int64_t i : order) {
      if (graph->build_plan_at_index(i).is_bad()) continue;
      int64_t bytes = 0;
      need(graph->get_workspace_size(bytes));
      if (static_cast<double>(bytes) > 2 * kWorkspaceLimit) continue;
      return {shape, graph, static_cast<size_t>(bytes), engine_name(*graph, i)};
    }
    throw Unsupported();
  }

  /// The plan of a shape, null where there is none.
  const Plan* plan(const AttentionShape& s, bool backward) {
    // A backward pass of few queries is not worth a plan.
    if (!is_causal(s) || s.queries <= kFewRows || s.head_dim % 8 != 0) return nullptr;
    const PlanKey key = PlanShape{s, s.batch, s.kv_heads, backward}.key();
    const auto known = plans.find(key);
    if (known != plans.end()) return known->second ? &*known->second : nullptr;
    if (plans.size() >= kMostPlans) {
      check(cudaStreamSynchronize(stream), "waiting for the device");  // kernels in use
      plans.clear();
    }
    std::optional<Plan> made;
    try {
      made = build(backward ? backward_part(s) : PlanShape{s, s.batch, s.kv_heads, false});
    } catch (const std::bad_alloc&) {
      throw;
    } catch (const Unsupported&) {
    } catch (const std::exception&) {  // the front end throws some of its errors
    }
    const auto& kept = plans.emplace(key, std::move(made)).first->second;
    return kept ? &*kept : nullptr;
  }

  void execute(const Plan& plan, std::unordered_map<int64_t, void*>& pointers, void* workspace) {
    fe::error_t error = plan.graph->execute(handle, pointers, workspace);
    if (error.is_bad()) {
      throw DeviceError("cudnn: attention by " + plan.name + ": " + error.get_message());
    }
  }

  cudaStream_t stream;
  std::shared_ptr<MemoryPool> pool;
  cudnnHandle_t handle = nullptr;
  bool broken = false;
  std::map<PlanKey, std::optional<Plan>> plans;
  std::map<std::tuple<int64_t, int64_t, int64_t, bool>, std::string> engines;
  int64_t calls = 0;
};

CudnnAttention::CudnnAttention(cudaStream_t stream, std::shared_ptr<MemoryPool> pool)
    : state_(std::make_unique<State>(stream, std::move(pool))) {}
CudnnAttention::~CudnnAttention() = default;

bool CudnnAttention::forward(const Tensor& out, const Tensor& lse, const Tensor& q, const Tensor& k,
                             const Tensor& v, const AttentionShape& shape) {
  if (q.dtype() != Dtype::bf16) return false;
  const Plan* const plan = state_->plan(shape, false);
  if (plan == nullptr) return false;
  const auto workspace = state_->pool->allocate(plan->workspace);
  std::unordered_map<int64_t, void*> pointers = {
      {kQ, q.raw()}, {kK, k.raw()}, {kV, v.raw()}, {kOut, out.raw()}, {kLse, lse.raw()}};
  state_->execute(*plan, pointers, workspace.get());
  ++state_->calls;
  return true;
}

bool CudnnAttention::backward(const Tensor& d_q, const Tensor& d_k, const Tensor& d_v,
                              const Tensor& d_out, const Tensor& q, const Tensor& k,
                              const Tensor& v, const Tensor& out, const Tensor& lse,
                              const AttentionShape& s) {
  if (q.dtype() != Dtype::bf16) return false;
  const Plan* const plan = state_->plan(s, true);
  if (plan == nullptr) return false;
  const auto workspace = state_->pool->allocate(plan->workspace);
  const int64_t group = s.heads / s.kv_heads;
  for (int64_t b = 0; b < s.batch; b += plan->shape.batch) {
    for (int64_t g = 0; g < s.kv_heads; g += plan->shape.kv_heads) {
      const auto at = [](const Tensor& x, int64_t element) -> void* {
        return x.data<char>() + static_cast<size_t>(element) * size_of(x.dtype());
      };
      const int64_t of_q = (b * s.queries * s.heads + g * group) * s.head_dim;
      const int64_t of_k = (b * s.keys * s.kv_heads + g) * s.head_dim;
      std::unordered_map<int64_t, void*> pointers = {
          {kQ, at(q, of_q)},
          {kK, at(k, of_k)},
          {kV, at(v, of_k)},
          {kOut, at(out, of_q)},
          {kDOut, at(d_out, of_q)},
          {kDQ, at(d_q, of_q)},
          {kDK, at(d_k, of_k)},
          {kDV, at(d_v, of_k)},
          {kLse, at(lse, (b * s.heads + g * group) * s.queries)}};
      state_->execute(*plan, pointers, workspace.get());
    }
  }
  ++state_->calls;
  return true;
}

int64_t CudnnAttention::calls() const { return state_->calls; }

std::string CudnnAttention::plan_name(const AttentionShape& shape, bool backward) {
  const Plan* const plan = state_->plan(shape, backward);
  return plan == nullptr ? std::string() : plan->name;
}

std::string CudnnAttention::description() const {
  if (state_->broken) return "own kernels";
  const size_t version = cudnnGetVersion();
  return "cuDNN " + std::to_string(version / 10000) + "." + std::to_string(version / 100 % 100) +
         "." + std::to_string(version % 100);
}

}  // namespace ropesweep::backend::cuda
