// Rotary position encoding in the rotate-half layout, and its transpose for the backward pass.
//
// Letters: R rows · H heads · K head dimension · P pairs ≤ K/2; T tokens of a sequence. Of pair (a,
// b) = elements i and i + P:  (a, b) → (a·cos − b·sin, b·cos + a·sin); transposed: sin with the
// other sign.
#include "worker/backend/cpu/cpu_backend.h"
#include "worker/backend/cpu/parallel.h"
#include "worker/backend/cpu/simd.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "worker/backend/cpu/rope.cpp"
#include <hwy/foreach_target.h>
// Order matters: after foreach_target.h.
#include "worker/backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ropesweep::backend::cpu {
namespace HWY_NAMESPACE {

/// One row of all heads. `out` may be `x`: both of a pair are read before either is written.
template <bool kTransposed, typename T>
HWY_INLINE void rotate_row(T* out, const T* x, const float* cosines, const float* sines,
                           size_t heads, size_t head_dim, size_t pairs) {
  for (size_t head = 0; head < heads; ++head, x += head_dim, out += head_dim) {
    for_lanes(pairs, [&](auto d, size_t i) {
      const auto a = load(d, x + i), b = load(d, x + i + pairs);
      const auto c = load(d, cosines + i), s = load(d, sines + i);
      const auto as = hn::Mul(a, s), bs = hn::Mul(b, s);
      if constexpr (kTransposed) {
        store(hn::MulAdd(a, c, bs), d, out + i);
        store(hn::MulSub(b, c, as), d, out + i + pairs);
      } else {
        store(hn::MulSub(a, c, bs), d, out + i);
        store(hn::MulAdd(b, c, as), d, out + i + pairs);
      }
    });
    for (size_t i = 2 * pairs; i < head_dim; ++i) out[i] = x[i];
  }
}

template <typename T>
HWY_INLINE void rotate_any(T* out, const T* x, const float* cosines, const float* sines,
                           size_t heads, size_t head_dim, size_t pairs, bool transposed) {
  if (transposed) {
    rotate_row<true>(out, x, cosines, sines, heads, head_dim, pairs);
  } else {
    rotate_row<false>(out, x, cosines, sines, heads, head_dim, pairs);
  }
}

void rotate_f32(float* out, const float* x, const float* cosines, const float* sines, size_t heads,
                size_t head_dim, size_t pairs, bool transposed) {
  rotate_any(out, x, cosines, sines, heads, head_dim, pairs, transposed);
}

void rotate_bf16(Bf16* out, const Bf16* x, const float* cosines, const float* sines, size_t heads,
                 size_t head_dim, size_t pairs, bool transposed) {
  rotate_any(out, x, cosines, sines, heads, head_dim, pairs, transposed);
}

}  // namespace HWY_NAMESPACE
}  // namespace ropesweep::backend::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ropesweep::backend::cpu {

namespace {

HWY_EXPORT(rotate_f32);
HWY_EXPORT(rotate_bf16);

void rotate(const Tensor& out, const Tensor& x, const RopeTensors& table, int64_t first_row,
            int64_t tokens, bool transposed, int threads) {
  const int64_t width = x.dim(1) * x.dim(2), pairs = table.cos.dim(1);
  const auto heads = static_cast<size_t>(x.dim(1)), head_dim = static_cast<size_t>(x.dim(2));
  const int64_t grain = std::max<int64_t>(1, 8192 / std::max<int64_t>(width, 1));
  parallel_ranges(threads, x.dim(0), grain, [&](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) {
      const int64_t at = row * width, position = (first_row + row % tokens) * pairs;
      const float* cosines = table.cos.data<float>() + position;
      const float* sines = table.sin.data<float>() + position;
      if (x.dtype() == Dtype::f32) {
        HWY_DYNAMIC_DISPATCH(rotate_f32)
        (out.data<float>() + at, x.data<float>() + at, cosines, sines, heads, head_dim,
         static_cast<size_t>(pairs), transposed);
      } else {
        HWY_DYNAMIC_DISPATCH(rotate_bf16)
        (out.data<Bf16>() + at, x.data<Bf16>() + at, cosines, sines, heads, head_dim,
         static_cast<size_t>(pairs), transposed);
      }
    }
  });
}

}  // namespace

void CpuBackend::rope(const Tensor& out, const Tensor& x, const RopeTensors& table,
                      int64_t first_row, int64_t tokens) {
  rotate(out, x, table, first_row, tokens, false, threads_);
}

void CpuBackend::rope_backward(const Tensor& d_x, const Tensor& d_out, const RopeTensors& table,
                               int64_t first_row, int64_t tokens) {
  rotate(d_x, d_out, table, first_row, tokens, true, threads_);
}

}  // namespace ropesweep::backend::cpu
#endif  // HWY_ONCE
