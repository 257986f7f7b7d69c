// The bias of a product, as each row or added to it, and its gradient, the sum over the rows.
#include <cstring>

#include "worker/backend/cpu/column_sums.h"
#include "worker/backend/cpu/cpu_backend.h"
#include "worker/backend/cpu/parallel.h"
#include "worker/backend/cpu/simd.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "worker/backend/cpu/add_bias.cpp"
#include <hwy/foreach_target.h>
// Order matters: after foreach_target.h.
#include "worker/backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ropesweep::backend::cpu {
namespace HWY_NAMESPACE {

/// to[i] += x[i]
template <typename To, typename From>
HWY_INLINE void add_row(To* to, const From* x, size_t width) {
  for_lanes(width,
            [&](auto d, size_t i) { store(hn::Add(load(d, to + i), load(d, x + i)), d, to + i); });
}

void add_row_f32(float* to, const float* x, size_t width) { add_row(to, x, width); }
void add_row_bf16(Bf16* to, const Bf16* x, size_t width) { add_row(to, x, width); }
void add_wide_row(float* to, const Bf16* x, size_t width) { add_row(to, x, width); }

}  // namespace HWY_NAMESPACE
}  // namespace ropesweep::backend::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ropesweep::backend::cpu {

namespace {

HWY_EXPORT(add_row_f32);
HWY_EXPORT(add_row_bf16);
HWY_EXPORT(add_wide_row);

/// Elements of rows worth a thread's while.
int64_t rows_a_grain(int64_t width) {
  return std::max<int64_t>(1, 8192 / std::max<int64_t>(width, 1));
}

}  // namespace

void CpuBackend::set_bias(const Tensor& x, const Tensor& bias) {
  const int64_t rows = x.dim(0), grain = rows_a_grain(x.dim(1));
  parallel_ranges(threads_, rows, grain, [&](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) {
      std::memcpy(x.data<char>() + static_cast<size_t>(row) * bias.bytes(), bias.raw(),
                  bias.bytes());
    }
  });
}

void CpuBackend::add_bias(const Tensor& x, const Tensor& bias) {
  const int64_t rows = x.dim(0), width = x.dim(1);
  const auto n = static_cast<size_t>(width);
  parallel_ranges(threads_, rows, rows_a_grain(width), [&](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) {
      if (x.dtype() == Dtype::f32) {
        HWY_DYNAMIC_DISPATCH(add_row_f32)(x.data<float>() + row * width, bias.data<float>(), n);
      } else {
        HWY_DYNAMIC_DISPATCH(add_row_bf16)(x.data<Bf16>() + row * width, bias.data<Bf16>(), n);
      }
    }
  });
}

void CpuBackend::add_bias_backward(const Tensor& d_bias, const Tensor& d_out) {
  const int64_t width = d_out.dim(1);
  const auto n = static_cast<size_t>(width);
  add_column_sums(*this, threads_, d_bias.data<float>(), d_out.dim(0), width,
                  [&](float* part, int64_t first, int64_t last) {
                    for (int64_t row = first; row < last; ++row) {
                      if (d_out.dtype() == Dtype::f32) {
                        HWY_DYNAMIC_DISPATCH(add_row_f32)
                        (part, d_out.data<float>() + row * width, n);
                      } else {
                        HWY_DYNAMIC_DISPATCH(add_wide_row)
                        (part, d_out.data<Bf16>() + row * width, n);
                      }
                    }
                  });
}

}  // namespace ropesweep::backend::cpu
#endif  // HWY_ONCE
