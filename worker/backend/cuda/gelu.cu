// GELU (Hendrycks & Gimpel 2016), forward and backward:
//   exact: x·Φ(x),   slope Φ(x) + x·φ(x) with φ(x) = e^(−x²/2)/√(2π), Φ(x) = ½·erfc(−x/√2)
//   tanh:  x·σ(2u),  slope σ + x·σ·(1 − σ)·2u' with u = √(2/π)·(x + 0.044715·x³),
//          since ½(1 + tanh u) = σ(2u)
#include "worker/backend/cuda/cuda_backend.h"
#include "worker/backend/cuda/launch.h"

namespace ropesweep::backend::cuda {

namespace {

constexpr int kThreads = 256;

/// A value, and its derivative.
struct Curve {
  float value, slope;
};

__device__ __forceinline__ Curve gelu_of(float x, bool exact) {
  if (exact) {
    const float share = 0.5f * erfcf(x * -0.707106781f);
    return {x * share, share + x * 0.398942280f * expf(-0.5f * x * x)};
  }
  constexpr float kTwice = 2 * 0.797884561f, kCubic = 0.044715f;
  const float s = 1.0f / (1.0f + expf(-kTwice * x * (1.0f + kCubic * x * x)));
  return {x * s, s + x * s * (1.0f - s) * kTwice * (1.0f + 3 * kCubic * x * x)};
}

template <typename T, int V>
__global__ void __launch_bounds__(kThreads)
    gelu_kernel(T* out, const T* x, int64_t count, bool exact) {
  const int64_t i = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * V;
  if (i >= count) return;
  float value[V];
  load(x + i, value);
  ROPESWEEP_UNROLL
  for (int n = 0; n < V; ++n) value[n] = gelu_of(value[n], exact).value;
  store(value, out + i);
}

/// Each element is read before its gradient is written: storage may be shared.
template <typename T, int V>
__global__ void __launch_bounds__(kThreads)
    gelu_backward_kernel(T* d_x, const T* d_out, const T* x, int64_t count, bool exact) {
  const int64_t i = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * V;
  if (i >= count) return;
  float d[V], value[V];
  load(d_out + i, d);
  load(x + i, value);
  ROPESWEEP_UNROLL
  for (int n = 0; n < V; ++n) d[n] *= gelu_of(value[n], exact).slope;
  store(d, d_x + i);
}

}  // namespace

void CudaBackend::gelu(const Tensor& out, const Tensor& x, Gelu kind) {
  const int64_t count = x.elements();
  with_type(x.dtype(), [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    with_width(takes_vectors(count, {out.raw(), x.raw()}), [&](auto v) {
      launch({stream_, blocks_for(count / v, kThreads), kThreads}, gelu_kernel<T, v>, out.data<T>(),
             x.data<T>(), count, kind == Gelu::exact);
    });
  });
}

void CudaBackend::gelu_backward(const Tensor& d_x, const Tensor& d_out, const Tensor& x,
                                Gelu kind) {
  const int64_t count = x.elements();
  with_type(x.dtype(), [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    with_width(takes_vectors(count, {d_x.raw(), d_out.raw(), x.raw()}), [&](auto v) {
      launch({stream_, blocks_for(count / v, kThreads), kThreads}, gelu_backward_kernel<T, v>,
             d_x.data<T>(), d_out.data<T>(), x.data<T>(), count, kind == Gelu::exact);
    });
  });
}

}  // namespace ropesweep::backend::cuda
