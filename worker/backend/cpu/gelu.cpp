// GELU (Hendrycks & Gimpel 2016), forward and backward:
//   exact: x·Φ(x),           slope Φ(x) + x·φ(x) with φ(x) = e^(−x²/2)/√(2π)
//   tanh:  x·σ(2u),          slope σ + x·σ·(1 − σ)·2u' with u = √(2/π)·(x + 0.044715·x³),
//          since ½(1 + tanh u) = σ(2u)
//
// Φ of a negative number is ½·erfc(|x|/√2) = ½·e^(−x²/2)·t·Q(t), t = 1/(1 + 0.38·|x|/√2) in (0, 1],
// of a positive one 1 less that: no cancellation in the tail, where x·Φ(x) is small. Q of degree 8
// is fitted to e^(z²)·erfc(z)/t over z ≥ 0; its relative error is 2e-8.
#include "worker/backend/cpu/cpu_backend.h"
#include "worker/backend/cpu/parallel.h"
#include "worker/backend/cpu/simd.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "worker/backend/cpu/gelu.cpp"
#include <hwy/foreach_target.h>
// Order matters: after foreach_target.h.
#include "worker/backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ropesweep::backend::cpu {
namespace HWY_NAMESPACE {

/// A value, and its derivative.
template <class D>
struct Curve {
  hn::Vec<D> value, slope;
};

template <class D>
HWY_INLINE Curve<D> exact_gelu(D d, hn::Vec<D> x) {
  const auto one = hn::Set(d, 1.0f);
  const auto bell = exp_of(d, hn::Mul(hn::Mul(x, x), hn::Set(d, -0.5f)));  // e^(−x²/2)
  const auto t = hn::Div(one, hn::MulAdd(hn::Abs(x), hn::Set(d, 0.38f * 0.707106781f), one));
  auto q = hn::Set(d, 0.0590494051f);
  q = hn::MulAdd(q, t, hn::Set(d, -0.262698054f));
  q = hn::MulAdd(q, t, hn::Set(d, 0.364759922f));
  q = hn::MulAdd(q, t, hn::Set(d, -0.162535608f));
  q = hn::MulAdd(q, t, hn::Set(d, 0.230807438f));
  q = hn::MulAdd(q, t, hn::Set(d, 0.138297558f));
  q = hn::MulAdd(q, t, hn::Set(d, 0.204002529f));
  q = hn::MulAdd(q, t, hn::Set(d, 0.213904947f));
  q = hn::MulAdd(q, t, hn::Set(d, 0.21441187f));
  const auto tail = hn::Mul(hn::Mul(hn::Set(d, 0.5f), bell), hn::Mul(t, q));  // Φ(−|x|)
  const auto share = hn::IfThenElse(hn::Lt(x, hn::Zero(d)), tail, hn::Sub(one, tail));
  const auto density = hn::Mul(bell, hn::Set(d, 0.398942280f));
  return {hn::Mul(x, share), hn::MulAdd(x, density, share)};
}

template <class D>
HWY_INLINE Curve<D> tanh_gelu(D d, hn::Vec<D> x) {
  const auto one = hn::Set(d, 1.0f);
  const auto square = hn::Mul(x, x);
  const auto twice = hn::Set(d, 2 * 0.797884561f), cubic = hn::Set(d, 0.044715f);
  const auto u = hn::Mul(hn::Mul(twice, x), hn::MulAdd(square, cubic, one));  // 2u
  const auto s = hn::Div(one, hn::Add(one, exp_of(d, hn::Neg(u))));
  const auto u_slope = hn::Mul(twice, hn::MulAdd(square, hn::Set(d, 3 * 0.044715f), one));
  const auto bent = hn::Mul(hn::Mul(x, s), hn::Mul(hn::Sub(one, s), u_slope));
  return {hn::Mul(x, s), hn::Add(s, bent)};
}

template <class D>
HWY_INLINE Curve<D> gelu_of(D d, hn::Vec<D> x, bool exact) {
  return exact ? exact_gelu(d, x) : tanh_gelu(d, x);
}

template <typename T>
HWY_INLINE void gelu_any(T* out, const T* x, size_t count, bool exact) {
  for_lanes(count,
            [&](auto d, size_t i) { store(gelu_of(d, load(d, x + i), exact).value, d, out + i); });
}

/// Each element is read before its gradient is written: storage may be shared.
template <typename T>
HWY_INLINE void gelu_backward_any(T* d_x, const T* d_out, const T* x, size_t count, bool exact) {
  for_lanes(count, [&](auto d, size_t i) {
    const auto slope = gelu_of(d, load(d, x + i), exact).slope;
    store(hn::Mul(load(d, d_out + i), slope), d, d_x + i);
  });
}

void gelu_f32(float* out, const float* x, size_t count, bool exact) {
  gelu_any(out, x, count, exact);
}

void gelu_bf16(Bf16* out, const Bf16* x, size_t count, bool exact) {
  gelu_any(out, x, count, exact);
}

void gelu_backward_f32(float* d_x, const float* d_out, const float* x, size_t count, bool exact) {
  gelu_backward_any(d_x, d_out, x, count, exact);
}

void gelu_backward_bf16(Bf16* d_x, const Bf16* d_out, const Bf16* x, size_t count, bool exact) {
  gelu_backward_any(d_x, d_out, x, count, exact);
}

}  // namespace HWY_NAMESPACE
}  // namespace ropesweep::backend::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ropesweep::backend::cpu {

namespace {

HWY_EXPORT(gelu_f32);
HWY_EXPORT(gelu_bf16);
HWY_EXPORT(gelu_backward_f32);
HWY_EXPORT(gelu_backward_bf16);

constexpr int64_t kGrain = 4096;

}  // namespace

void CpuBackend::gelu(const Tensor& out, const Tensor& x, Gelu kind) {
  const bool exact = kind == Gelu::exact;
  parallel_ranges(threads_, x.elements(), kGrain, [&](int64_t first, int64_t last) {
    const auto count = static_cast<size_t>(last - first);
    if (x.dtype() == Dtype::f32) {
      HWY_DYNAMIC_DISPATCH(gelu_f32)
      (out.data<float>() + first, x.data<float>() + first, count, exact);
    } else {
      HWY_DYNAMIC_DISPATCH(gelu_bf16)
      (out.data<Bf16>() + first, x.data<Bf16>() + first, count, exact);
    }
  });
}

void CpuBackend::gelu_backward(const Tensor& d_x, const Tensor& d_out, const Tensor& x, Gelu kind) {
  const bool exact = kind == Gelu::exact;
  parallel_ranges(threads_, x.elements(), kGrain, [&](int64_t first, int64_t last) {
    const auto count = static_cast<size_t>(last - first);
    if (x.dtype() == Dtype::f32) {
      HWY_DYNAMIC_DISPATCH(gelu_backward_f32)
      (d_x.data<float>() + first, d_out.data<float>() + first, x.data<float>() + first, count,
       exact);
    } else {
      HWY_DYNAMIC_DISPATCH(gelu_backward_bf16)
      (d_x.data<Bf16>() + first, d_out.data<Bf16>() + first, x.data<Bf16>() + first, count, exact);
    }
  });
}

}  // namespace ropesweep::backend::cpu
#endif  // HWY_ONCE
