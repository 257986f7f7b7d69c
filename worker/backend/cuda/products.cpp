// Products by cuBLASLt: heuristics asked once a shape, one workspace for all.
//
// cuBLASLt's matrices are column-major: a row-major c[m, n] = op(a)·op(b) is asked for as
// cᵀ = op(b)ᵀ·op(a)ᵀ, with the same memory.
//
// Determinism: algorithms that split the inner dimension and add with atomics are left out. Where
// the rows are tokens, the algorithm is chosen for a fixed number of rows, then taken for every
// other number that cuBLASLt's own check allows it for, and the inner dimension is not split (for a
// decoder's few rows it may be, in a fixed order): a token's sums are formed by the same tiles in
// the same order however many tokens there are. Where the check refuses, that of the algorithms
// recommended for the number at hand is taken which is the most alike.
//
// f32 products are f32's (CUBLAS_COMPUTE_32F): never TF32.
#include "worker/backend/cuda/products.h"

#include <cublasLt.h>

#include <algorithm>
#include <array>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "worker/backend/cuda/runtime.h"

namespace ropesweep::backend::cuda {

namespace {

/// NVIDIA's advice for Hopper; enough for older devices.
constexpr size_t kWorkspaceBytes = size_t{32} << 20;
/// The number of rows that the algorithm for more than kFewRows is chosen for.
constexpr int64_t kManyRows = 4096;
constexpr int kCandidates = 16;
/// No kernel wants operands more aligned than its widest load. (cuBLASLt would take 256 for
/// granted, which rows in the middle of a tensor are not.)
constexpr uint32_t kMostAlignment = 16;

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
  /// Of cuBLASLt's first and second operand, and of c.
  void set_alignments(uint32_t first, uint32_t second, uint32_t c) {
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, first);
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, second);
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, c);
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, c);
  }
  cublasLtMatmulPreference_t get() const { return preference_; }

 private:
  template <typename Value>
  void set(cublasLtMatmulPreferenceAttributes_t attribute, Value value) {
    check_blas(cublasLtMatmulPreferenceSetAttribute(preference_, attribute, &value, sizeof value),
               "setting a preference");
  }
  cublasLtMatmulPreference_t preference_ = nullptr;
};

/// The greatest power of two, up to kMostAlignment, that divides both an address and the bytes from
/// row to row: views of rows of one tensor have the same.
uint32_t alignment_of(const void* data, int64_t row_elements, Dtype dtype) {
  const uint64_t bits = reinterpret_cast<uint64_t>(data) |
                        (static_cast<uint64_t>(row_elements) * size_of(dtype)) | kMostAlignment;
  return static_cast<uint32_t>(bits & (~bits + 1));
}

struct Alignments {
  explicit Alignments(const ProductCall& call)
      : a(alignment_of(call.a, call.transpose_a ? call.m : call.k, call.dtype)),
        b(alignment_of(call.b, call.transpose_b ? call.k : call.n, call.dtype)),
        c(alignment_of(call.c, call.n, call.c_dtype)) {}
  uint32_t a, b, c;
};

using Key = std::tuple<int64_t, int64_t, int64_t, Dtype, Dtype, bool, bool, bool, uint32_t,
                       uint32_t, uint32_t>;

Key key_of(const ProductCall& call) {
  const Alignments at(call);
  return {call.m,
          call.n,
          call.k,
          call.dtype,
          call.c_dtype,
          call.transpose_a,
          call.transpose_b,
          call.rows_are_tokens,
          at.a,
          at.b,
          at.c};
}

bool is_few(const ProductCall& call) { return call.few_rows_apart && call.m <= kFewRows; }

uint32_t config_of(const cublasLtMatmulAlgo_t& algorithm,
                   cublasLtMatmulAlgoConfigAttributes_t attribute) {
  uint32_t value = 0;
  size_t written = 0;
  // An attribute that the algorithm doesn't have counts as 0.
  static_cast<void>(
      cublasLtMatmulAlgoConfigGetAttribute(&algorithm, attribute, &value, sizeof value, &written));
  return value;
}

/// How alike two algorithms form a row's sums.
int likeness(const cublasLtMatmulAlgo_t& x, const cublasLtMatmulAlgo_t& y) {
  int alike = 0;
  for (const auto attribute :
       {CUBLASLT_ALGO_CONFIG_ID, CUBLASLT_ALGO_CONFIG_TILE_ID, CUBLASLT_ALGO_CONFIG_STAGES_ID}) {
    alike += config_of(x, attribute) == config_of(y, attribute);
  }
  return alike;
}

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

  /// The algorithm of a call, chosen when its shape is first seen.
  const cublasLtMatmulAlgo_t& algorithm(const ProductCall& call, const Operands& operands) {
    const Key key = key_of(call);
    const auto known = algorithms.find(key);
    if (known != algorithms.end()) return known->second;
    // Decoders and evaluations have many numbers of rows.
    if (algorithms.size() >= kMostKept) algorithms.clear();
    return algorithms.emplace(key, choose(call, operands)).first->second;
  }

  cublasLtMatmulAlgo_t choose(const ProductCall& call, const Operands& operands) {
    ProductCall many = call;
    many.m = is_few(call) ? kFewRows : kManyRows;
    if (!call.rows_are_tokens || call.m == many.m) return recommended(call, operands).front();
    const cublasLtMatmulAlgo_t wanted = recommended(many, Operands(many)).front();
    if (allowed(wanted, operands)) return wanted;
    std::vector<cublasLtMatmulAlgo_t> others = recommended(call, operands);
    return *std::max_element(others.begin(), others.end(), [&](const auto& x, const auto& y) {
      return likeness(x, wanted) < likeness(y, wanted);
    });
  }

  bool allowed(const cublasLtMatmulAlgo_t& algorithm, const Operands& operands) const {
    cublasLtMatmulHeuristicResult_t result = {};
    return cublasLtMatmulAlgoCheck(handle, operands.description.get(), operands.first.get(),
                                   operands.second.get(), operands.c.get(), operands.c.get(),
                                   &algorithm, &result) == CUBLAS_STATUS_SUCCESS &&
           result.state == CUBLAS_STATUS_SUCCESS && result.workspaceSize <= kWorkspaceBytes;
  }

  /// What cuBLASLt recommends, best first; at least one.
  std::vector<cublasLtMatmulAlgo_t> recommended(const ProductCall& call,
                                                const Operands& operands) const {
    const bool whole = call.rows_are_tokens && !is_few(call);
    Preference preference;
    preference.allow_reductions(whole ? CUBLASLT_REDUCTION_SCHEME_NONE
                                      : CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE);
    const Alignments at(call);
    preference.set_alignments(at.b, at.a, at.c);
    std::array<cublasLtMatmulHeuristicResult_t, kCandidates> found;
    int count = 0;
    const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
        handle, operands.description.get(), operands.first.get(), operands.second.get(),
        operands.c.get(), operands.c.get(), preference.get(), kCandidates, found.data(), &count);
    if (status != CUBLAS_STATUS_NOT_SUPPORTED) check_blas(status, "choosing an algorithm");
    std::vector<cublasLtMatmulAlgo_t> algorithms_found;
    for (int i = 0; i < count; ++i) {
      const auto& candidate = found[static_cast<size_t>(i)];
      const bool splits = config_of(candidate.algo, CUBLASLT_ALGO_CONFIG_SPLITK_NUM) > 1;
      if (candidate.state == CUBLAS_STATUS_SUCCESS && !(whole && splits)) {
        algorithms_found.push_back(candidate.algo);
      }
    }
    if (algorithms_found.empty()) {
      throw DeviceError("cublasLt: no algorithm for a product of " + std::to_string(call.m) +
                        " × " + std::to_string(call.n) + " × " + std::to_string(call.k));
    }
    return algorithms_found;
  }

  static constexpr size_t kMostKept = 4096;
  cudaStream_t stream;
  cublasLtHandle_t handle = nullptr;
  void* workspace = nullptr;
  std::map<Key, cublasLtMatmulAlgo_t> algorithms;
};

Products::Products(cudaStream_t stream) : state_(std::make_unique<State>(stream)) {}
Products::~Products() = default;

void Products::run(const ProductCall& call) {
  const Operands operands(call);
  const cublasLtMatmulAlgo_t& algorithm = state_->algorithm(call, operands);
  const float one = 1.0f, kept = call.accumulate ? 1.0f : 0.0f;
  check_blas(cublasLtMatmul(state_->handle, operands.description.get(), &one, call.b,
                            operands.first.get(), call.a, operands.second.get(), &kept, call.c,
                            operands.c.get(), call.c, operands.c.get(), &algorithm,
                            state_->workspace, kWorkspaceBytes, state_->stream),
             "a product");
}

}  // namespace ropesweep::backend::cuda
