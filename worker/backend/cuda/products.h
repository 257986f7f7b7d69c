// Matrix products on the device: cuBLASLt (products.cpp), or plain loops where the device is
// emulated.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <memory>

#include "worker/backend/ops.h"

namespace ropesweep::backend::cuda {

/// c[m, n] = op(a) · op(b), + c when `accumulate`; row-major and dense, sums in f32.
/// op(a) is [m, k]: a itself, or aᵀ of a [k, m]; op(b) is [k, n]: b itself, or bᵀ of a [n, k].
struct ProductCall {
  int64_t m = 0, n = 0, k = 0;
  const void* a = nullptr;
  const void* b = nullptr;
  void* c = nullptr;
  Dtype dtype = Dtype::f32;    ///< of a and b
  Dtype c_dtype = Dtype::f32;  ///< f32 or that of a and b
  bool transpose_a = false, transpose_b = false;
  bool accumulate = false;
  /// The rows of c are tokens: their bits must not depend on how many there are,
  bool rows_are_tokens = false;
  /// but up to kFewRows of them may take a faster path of their own (decoding).
  bool few_rows_apart = false;
};

class Products {
 public:
  explicit Products(cudaStream_t stream);
  ~Products();
  /// Errors: DeviceError.
  void run(const ProductCall& call);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace ropesweep::backend::cuda
