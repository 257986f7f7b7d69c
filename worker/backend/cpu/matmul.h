// Small matrix products on one thread, by oneDNN: C[m, n] = A[m, k] · B[k, n] (+ C), accumulated in
// f32.
//
// B is packed first, into the layout that oneDNN's kernel likes best; the packed form depends on k,
// n and the type only, so that one packing serves products of any m. Primitives and their memory
// objects are kept by each thread: a call costs under a microsecond beside its arithmetic.
//
// A row's result doesn't depend on m: each call is cut into a fixed set of row counts, and where
// the kernel isn't known to treat them alike (any other than oneDNN's brgemm), the last rows are
// padded to a full tile. tests/worker/backend/product_test.cpp holds this to the bit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "worker/backend/tensor.h"

namespace ropesweep::backend::cpu {

/// The layout of packed B [k, n].
class PackedLayout {
 public:
  PackedLayout(Dtype dtype, int64_t k, int64_t n);
  ~PackedLayout();
  PackedLayout(PackedLayout&&) noexcept;
  PackedLayout& operator=(PackedLayout&&) = delete;

  Dtype dtype() const { return dtype_; }
  int64_t k() const { return k_; }
  int64_t n() const { return n_; }
  /// Of one packed B, rounded up to a multiple of 64.
  size_t bytes() const { return bytes_; }

  /// B's element (i, j) is b[i·ldb + j], or b[j·ldb + i] when `transposed`.
  void pack(void* packed, const void* b, int64_t ldb, bool transposed) const;

  struct Impl;
  const Impl& impl() const { return *impl_; }

 private:
  Dtype dtype_;
  int64_t k_, n_;
  size_t bytes_ = 0;
  std::shared_ptr<const Impl> impl_;
};

/// The layout for (dtype, k, n), kept by the calling thread.
const PackedLayout& packed_layout(Dtype dtype, int64_t k, int64_t n);

struct MatmulArgs {
  const void* a = nullptr;  ///< element (i, l) is a[i·lda + l], or a[l·lda + i] when `a_transposed`
  int64_t lda = 0;
  bool a_transposed = false;
  const void* packed = nullptr;
  void* c = nullptr;
  int64_t ldc = 0;
  Dtype c_dtype = Dtype::f32;
  bool accumulate = false;
  int64_t m = 0;
};

/// Runs on the calling thread alone; within a OneThread (parallel.h).
void matmul(const PackedLayout& layout, const MatmulArgs& args);

/// Whether oneDNN multiplies bf16 on this processor at speed (AVX-512). Otherwise, or when the
/// environment has ROPESWEEP_NO_BF16_PRODUCT (read once; for tests), bf16 operands go through f32.
bool has_bf16_product();

}  // namespace ropesweep::backend::cpu
