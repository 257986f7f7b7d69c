// AdamW (Loshchilov & Hutter 2019, algorithm 2) with f32 master weights, one pass over memory:
//   m ← β₁m + (1 − β₁)g,  v ← β₂v + (1 − β₂)g²
//   w ← w·(1 − ηλ) − (η / (1 − β₁ᵗ)) · m / (√v / √(1 − β₂ᵗ) + ε)
#include "worker/backend/adamw_factors.h"
#include "worker/backend/cuda/cuda_backend.h"
#include "worker/backend/cuda/launch.h"

namespace ropesweep::backend::cuda {

namespace {

constexpr int kThreads = 256;

/// `weight` may be `master`.
template <typename T, int V>
__global__ void __launch_bounds__(kThreads)
    adamw_kernel(T* weight, float* master, float* m, float* v, const float* gradient, int64_t count,
                 AdamwFactors f) {
  const int64_t i = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * V;
  if (i >= count) return;
  float w[V], first[V], second[V], g[V];
  load(master + i, w);
  load(m + i, first);
  load(v + i, second);
  load(gradient + i, g);
  for (int n = 0; n < V; ++n) {
    const float scaled = g[n] * f.gradient_scale;
    first[n] = first[n] * f.beta1 + scaled * (1.0f - f.beta1);
    second[n] = second[n] * f.beta2 + scaled * scaled * (1.0f - f.beta2);
    const float root = sqrtf(second[n]) * f.root_correction + f.epsilon;
    w[n] = w[n] * f.keep - first[n] * f.rate / root;
  }
  store(first, m + i);
  store(second, v + i);
  store(w, master + i);
  store(w, weight + i);
}

}  // namespace

void CudaBackend::adamw(const Tensor& weight, const Tensor& master, const Tensor& m,
                        const Tensor& v, const Tensor& gradient, const AdamwStep& step) {
  const int64_t count = weight.elements();
  const AdamwFactors factors = factors_of(step);
  const bool vectors =
      takes_vectors(count, {weight.raw(), master.raw(), m.raw(), v.raw(), gradient.raw()});
  with_type(weight.dtype(), [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    with_width(vectors, [&](auto width) {
      launch({stream_, blocks_for(count / width, kThreads), kThreads}, adamw_kernel<T, width>,
             weight.data<T>(), master.data<float>(), m.data<float>(), v.data<float>(),
             gradient.data<float>(), count, factors);
    });
  });
}

}  // namespace ropesweep::backend::cuda
