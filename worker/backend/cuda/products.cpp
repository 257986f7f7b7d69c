// Products by cuBLASLt: heuristics asked once a shape, one workspace for all.
//
// cuBLASLt's matrices are column-major: a row-major c[m, n] = op(a)·op(b) is asked for as
// cᵀ = op(b)ᵀ·op(a)ᵀ, with the same memory.
//
// Determinism: algorithms that split the inner dimension and add with atomics are left out. Where
// the rows are tokens, the algorithm is chosen for a fixed number of rows, and the inner dimension
// is never split: a token's sums are then formed by the same tiles in the same order however many
// tokens there are.
#include "worker/backend/cuda/products.h"

#include <cublasLt.h>

#include <array>
#include <map>
#include <string>
#include <tuple>

#include "worker/backend/cuda/runtime.h"

namespace ropesweep::backend::cuda {

namespace {

/// NVIDIA's advice for Hopper; enough for older devices.
constexpr size_t kWorkspaceBytes = size_t{32} << 20;
/// Up to so many rows of tokens count as decoding, and have an algorithm of their own.
constexpr int64_t kFewRows = 16;
/// The number of rows that the algorithm for more is chosen for.
constexpr int64_t kManyRows = 4096;
constexpr int kCandidates = 16;

void check_blas(cublasStatus_t status, const char* what) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  if (status == CUBLAS_STATUS_ALLOC_FAILED) throw std::bad_alloc();
  throw DeviceError(std::string("cublasLt: ") + what + ": " + cublasLtGetStatusString(status));
}

cudaDataType_t type_of(Dtype dtype) { return dtype == Dtype::f32 ? CUDA_R_32F : CUDA_R_16BF; }

/// A layout of cuBLASLt: column-major, dense.
class Layout {
 public:
  Layout(Dtype dtype, int64_t rows, int64_t columns) {
    check_blas(cublasLtMatrixLayoutCreate(&layout_, type_of(dtype), static_cast<uint64_t>(rows),
                                          static_cast<uint64_t>(columns), rows),
               "making a layout");
  }
  ~Layout() { static_cast<void>(cublasLtMatrixLayoutDestroy(layout_)); }
  Layout(const Layout&) = delete;
  Layout& operator=(const Layout&) = delete;
  cublasLtMatrixLayout_t get() const { return layout_; }

 private:
  cublasLtMatrixLayout_t layout_ = nullptr;
};

class Description {
 public:
  Description(bool transpose_first, bool transpose_second) {
    check_blas(cublasLtMatmulDescCreate(&description_, CUBLAS_COMPUTE_32F, CUDA_R_32F),
               "making a description");
    const cublasOperation_t first = transpose_first ? CUBLAS_OP_T : CUBLAS_OP_N;
    const cublasOperation_t second = transpose_second ? CUBLAS_OP_T : CUBLAS_OP_N;
    set(CUBLASLT_MATMUL_DESC_TRANSA, first);
    set(CUBLASLT_MATMUL_DESC_TRANSB, second);
  }
  ~Description() { static_cast<void>(cublasLtMatmulDescDestroy(description_)); }
  Description(const Description&) = delete;
  Description& operator=(const Description&) = delete;
  cublasLtMatmulDesc_t get() const { return description_; }

 private:
  template <typename Value>
  void set(cublasLtMatmulDescAttributes_t attribute, Value value) {
    check_blas(cublasLtMatmulDescSetAttribute(description_, attribute, &value, sizeof value),
               "describing a product");
  }
  cublasLtMatmulDesc_t description_ = nullptr;
};

/// A product in cuBLASLt's terms: c (n × m) = first (n × k) · second (k × m), column-major.
struct Operands {
  explicit Operands(const ProductCall& call)
      : description(call.transpose_b, call.transpose_a),
        first(call.dtype, call.transpose_b ? call.k : call.n, call.transpose_b ? call.n : call.k),
        second(call.dtype, call.transpose_a ? call.m : call.k, call.transpose_a ? call.k : call.m),
        c(call.c_dtype, call.n, call.m) {}
  Description description;
  Layout first, second, c;
};

class Preference {
 public:
  Preference() {
    check_blas(cublasLtMatmulPreferenceCreate(&preference_), "making a preference");
    set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kWorkspaceBytes);
  }
  ~Preference() { static_cast<void>(cublasLtMatmulPreferenceDestroy(preference_)); }
  Preference(const Preference&) = delete;
  Preference& operator=(const Preference&) = delete;

  void allow_reductions(uint32_t mask) { set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, mask); }
  cublasLtMatmulPreference_t get() const { return preference_; }

 private:
  template <typename Value>
  void set(cublasLtMatmulPreferenceAttributes_t attribute, Value value) {
    check_blas(cublasLtMatmulPreferenceSetAttribute(preference_, attribute, &value, sizeof value),
               "setting a preference");
  }
  cublasLtMatmulPreference_t preference_ = nullptr;
};

using Key = std::tuple<int64_t, int64_t, int64_t, Dtype, Dtype, bool, bool, bool>;

}  // namespace

struct Products::State {
  explicit State(cudaStream_t on) : stream(on) {
    check_blas(cublasLtCreate(&handle), "starting");
    check(cudaMalloc(&workspace, kWorkspaceBytes), "the products' workspace");
  }
  ~State() {
    static_cast<void>(cudaFree(workspace));
    static_cast<void>(cublasLtDestroy(handle));
  }

  const cublasLtMatmulAlgo_t& algorithm(ProductCall call) {
    if (call.rows_are_tokens) call.m = call.m <= kFewRows ? kFewRows : kManyRows;
    const Key key{call.m,       call.n,           call.k,           call.dtype,
                  call.c_dtype, call.transpose_a, call.transpose_b, call.rows_are_tokens};
    const auto known = algorithms.find(key);
    if (known != algorithms.end()) return known->second;
    return algorithms.emplace(key, choose(call)).first->second;
  }

  cublasLtMatmulAlgo_t choose(const ProductCall& call) const {
    Preference preference;
    preference.allow_reductions(call.rows_are_tokens ? CUBLASLT_REDUCTION_SCHEME_NONE
                                                     : CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE |
                                                           CUBLASLT_REDUCTION_SCHEME_OUTPUT_TYPE);
    const Operands operands(call);
    std::array<cublasLtMatmulHeuristicResult_t, kCandidates> found;
    int count = 0;
    check_blas(
        cublasLtMatmulAlgoGetHeuristic(handle, operands.description.get(), operands.first.get(),
                                       operands.second.get(), operands.c.get(), operands.c.get(),
                                       preference.get(), kCandidates, found.data(), &count),
        "choosing an algorithm");
    for (int i = 0; i < count; ++i) {
      const auto& candidate = found[static_cast<size_t>(i)];
      if (candidate.state == CUBLAS_STATUS_SUCCESS) return candidate.algo;
    }
    throw DeviceError("cublasLt: no algorithm for a product of " + std::to_string(call.m) + " × " +
                      std::to_string(call.n) + " × " + std::to_string(call.k));
  }

  cudaStream_t stream;
  cublasLtHandle_t handle = nullptr;
  void* workspace = nullptr;
  std::map<Key, cublasLtMatmulAlgo_t> algorithms;
};

Products::Products(cudaStream_t stream) : state_(std::make_unique<State>(stream)) {}
Products::~Products() = default;

void Products::run(const ProductCall& call) {
  const Operands operands(call);
  const cublasLtMatmulAlgo_t& algorithm = state_->algorithm(call);
  const float one = 1.0f, kept = call.accumulate ? 1.0f : 0.0f;
  check_blas(cublasLtMatmul(state_->handle, operands.description.get(), &one, call.b,
                            operands.first.get(), call.a, operands.second.get(), &kept, call.c,
                            operands.c.get(), call.c, operands.c.get(), &algorithm,
                            state_->workspace, kWorkspaceBytes, state_->stream),
             "a product");
}

}  // namespace ropesweep::backend::cuda
