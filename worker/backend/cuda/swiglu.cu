// SwiGLU (Shazeer 2020): out = silu(gate) ⊙ up, silu(x) = x · σ(x), and its gradient
//   d_up = d_out · silu(gate),  d_gate = d_out · up · σ(gate) · (1 + gate · (1 − σ(gate)))
#include "worker/backend/cuda/cuda_backend.h"
#include "worker/backend/cuda/launch.h"

namespace ropesweep::backend::cuda {

namespace {

constexpr int kThreads = 256;

__device__ __forceinline__ float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

template <typename T, int V>
__global__ void __launch_bounds__(kThreads)
    swiglu_kernel(T* out, const T* gate, const T* up, int64_t count) {
  const int64_t i = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * V;
  if (i >= count) return;
  float g[V], u[V];
  load(gate + i, g);
  load(up + i, u);
  for (int n = 0; n < V; ++n) u[n] *= g[n] * sigmoid(g[n]);
  store(u, out + i);
}

template <typename T, int V>
__global__ void __launch_bounds__(kThreads)
    swiglu_backward_kernel(T* d_gate, T* d_up, const T* d_out, const T* gate, const T* up,
                           int64_t count) {
  const int64_t i = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * V;
  if (i >= count) return;
  float d[V], g[V], u[V];
  load(d_out + i, d);
  load(gate + i, g);
  load(up + i, u);
  for (int n = 0; n < V; ++n) {
    const float s = sigmoid(g[n]), silu = g[n] * s;
    g[n] = d[n] * u[n] * s * (1.0f + g[n] * (1.0f - s));
    u[n] = d[n] * silu;
  }
  store(g, d_gate + i);
  store(u, d_up + i);
}

}  // namespace

void CudaBackend::swiglu(const Tensor& out, const Tensor& gate, const Tensor& up) {
  const int64_t count = gate.elements();
  with_type(gate.dtype(), [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    with_width(takes_vectors(count, {out.raw(), gate.raw(), up.raw()}), [&](auto width) {
      launch({stream_, blocks_for(count / width, kThreads), kThreads}, swiglu_kernel<T, width>,
             out.data<T>(), gate.data<T>(), up.data<T>(), count);
    });
  });
}

void CudaBackend::swiglu_backward(const Tensor& d_gate, const Tensor& d_up, const Tensor& d_out,
                                  const Tensor& gate, const Tensor& up) {
  const int64_t count = gate.elements();
  const bool vectors =
      takes_vectors(count, {d_gate.raw(), d_up.raw(), d_out.raw(), gate.raw(), up.raw()});
  with_type(gate.dtype(), [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    with_width(vectors, [&](auto width) {
      launch({stream_, blocks_for(count / width, kThreads), kThreads},
             swiglu_backward_kernel<T, width>, d_gate.data<T>(), d_up.data<T>(), d_out.data<T>(),
             gate.data<T>(), up.data<T>(), count);
    });
  });
}

}  // namespace ropesweep::backend::cuda
