// SwiGLU (Shazeer 2020): out = silu(gate) · up with silu(g) = g·σ(g), forward and backward:
//   d_up = d_out · silu(gate),   d_gate = d_out · up · σ·(1 + gate·(1 − σ))
#include "worker/backend/cpu/cpu_backend.h"
#include "worker/backend/cpu/parallel.h"
#include "worker/backend/cpu/simd.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "worker/backend/cpu/swiglu.cpp"
#include <hwy/foreach_target.h>
// Order matters: after foreach_target.h.
#include "worker/backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ropesweep::backend::cpu {
namespace HWY_NAMESPACE {

template <class D>
HWY_INLINE hn::Vec<D> sigmoid(D d, hn::Vec<D> x) {
  const auto one = hn::Set(d, 1.0f);
  return hn::Div(one, hn::Add(one, exp_of(d, hn::Neg(x))));
}

template <typename T>
HWY_INLINE void swiglu_any(T* out, const T* gate, const T* up, int64_t count) {
  for_lanes(static_cast<size_t>(count), [&](auto d, size_t i) {
    const auto g = load(d, gate + i);
    store(hn::Mul(hn::Mul(g, sigmoid(d, g)), load(d, up + i)), d, out + i);
  });
}

/// Each element is read before its gradients are written: storage may be shared.
template <typename T>
HWY_INLINE void swiglu_backward_any(T* d_gate, T* d_up, const T* d_out, const T* gate, const T* up,
                                    int64_t count) {
  for_lanes(static_cast<size_t>(count), [&](auto d, size_t i) {
    const auto one = hn::Set(d, 1.0f);
    const auto g = load(d, gate + i), u = load(d, up + i), upstream = load(d, d_out + i);
    const auto s = sigmoid(d, g);
    const auto slope = hn::Mul(s, hn::MulAdd(g, hn::Sub(one, s), one));
    store(hn::Mul(hn::Mul(upstream, u), slope), d, d_gate + i);
    store(hn::Mul(upstream, hn::Mul(g, s)), d, d_up + i);
  });
}

void swiglu_f32(float* out, const float* gate, const float* up, int64_t count) {
  swiglu_any(out, gate, up, count);
}

void swiglu_bf16(Bf16* out, const Bf16* gate, const Bf16* up, int64_t count) {
  swiglu_any(out, gate, up, count);
}

void swiglu_backward_f32(float* d_gate, float* d_up, const float* d_out, const float* gate,
                         const float* up, int64_t count) {
  swiglu_backward_any(d_gate, d_up, d_out, gate, up, count);
}

void swiglu_backward_bf16(Bf16* d_gate, Bf16* d_up, const Bf16* d_out, const Bf16* gate,
                          const Bf16* up, int64_t count) {
  swiglu_backward_any(d_gate, d_up, d_out, gate, up, count);
}

}  // namespace HWY_NAMESPACE
}  // namespace ropesweep::backend::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ropesweep::backend::cpu {

namespace {

HWY_EXPORT(swiglu_f32);
HWY_EXPORT(swiglu_bf16);
HWY_EXPORT(swiglu_backward_f32);
HWY_EXPORT(swiglu_backward_bf16);

constexpr int64_t kGrain = 4096;

}  // namespace

void CpuBackend::swiglu(const Tensor& out, const Tensor& gate, const Tensor& up) {
  parallel_ranges(threads_, gate.elements(), kGrain, [&](int64_t first, int64_t last) {
    if (gate.dtype() == Dtype::f32) {
      HWY_DYNAMIC_DISPATCH(swiglu_f32)
      (out.data<float>() + first, gate.data<float>() + first, up.data<float>() + first,
       last - first);
    } else {
      HWY_DYNAMIC_DISPATCH(swiglu_bf16)
      (out.data<Bf16>() + first, gate.data<Bf16>() + first, up.data<Bf16>() + first, last - first);
    }
  });
}

void CpuBackend::swiglu_backward(const Tensor& d_gate, const Tensor& d_up, const Tensor& d_out,
                                 const Tensor& gate, const Tensor& up) {
  const Dtype dtype = gate.dtype();
  parallel_ranges(threads_, gate.elements(), kGrain, [&](int64_t first, int64_t last) {
    if (dtype == Dtype::f32) {
      HWY_DYNAMIC_DISPATCH(swiglu_backward_f32)
      (d_gate.data<float>() + first, d_up.data<float>() + first, d_out.data<float>() + first,
       gate.data<float>() + first, up.data<float>() + first, last - first);
    } else {
      HWY_DYNAMIC_DISPATCH(swiglu_backward_bf16)
      (d_gate.data<Bf16>() + first, d_up.data<Bf16>() + first, d_out.data<Bf16>() + first,
       gate.data<Bf16>() + first, up.data<Bf16>() + first, last - first);
    }
  });
}

}  // namespace ropesweep::backend::cpu
#endif  // HWY_ONCE
