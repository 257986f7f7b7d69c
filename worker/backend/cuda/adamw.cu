// AdamW (Loshchilov & Hutter 2019, algorithm 2) with f32 master weights, or without, one pass over
// memory:
//   m ← β₁m + (1 − β₁)g,  v ← β₂v + (1 − β₂)g²
//   w ← w·(1 − ηλ) − (η / (1 − β₁ᵗ)) · m / (√v / √(1 − β₂ᵗ) + ε)
// Products and sums are fused where the CPU's are, which the compiler is not left to choose: both
// backends have the same bits.
#include "worker/backend/adamw_factors.h"
#include "worker/backend/cuda/cuda_backend.h"
#include "worker/backend/cuda/launch.h"
#include "worker/backend/stochastic_rounding.h"

namespace ropesweep::backend::cuda {

namespace {

constexpr int kThreads = 256;

/// One element's step; the weight after it.
__device__ __forceinline__ float updated(float w, float& m, float& v, float gradient,
                                         const AdamwFactors& f) {
  const float g = __fmul_rn(gradient, f.gradient_scale);
  m = fmaf(m, f.beta1, __fmul_rn(g, 1.0f - f.beta1));
  v = fmaf(v, f.beta2, __fmul_rn(__fmul_rn(g, g), 1.0f - f.beta2));
  const float root = fmaf(sqrtf(v), f.root_correction, f.epsilon);
  return fmaf(w, f.keep, -(__fmul_rn(m, f.rate) / root));
}

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
  ROPESWEEP_UNROLL
  for (int n = 0; n < V; ++n) w[n] = updated(w[n], first[n], second[n], g[n], f);
  store(first, m + i);
  store(second, v + i);
  store(w, master + i);
  store(w, weight + i);
}

/// Without masters. V > 1: the first element is the first of those that share random words.
template <int V>
__global__ void __launch_bounds__(kThreads)
    adamw_by_chance_kernel(Bf16* weight, float* m, float* v, const float* gradient, int64_t count,
                           AdamwFactors f, RoundingSource source) {
  static_assert(V == 1 || V == kRoundedTogether);
  const int64_t i = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * V;
  if (i >= count) return;
  float w[V], first[V], second[V], g[V];
  load(weight + i, w);
  load(m + i, first);
  load(v + i, second);
  load(gradient + i, g);
  const uint64_t element = source.first_element + static_cast<uint64_t>(i);
  const std::array<uint32_t, 4> words = source.words(element);
  ROPESWEEP_UNROLL
  for (int n = 0; n < V; ++n) {
    const float wide = updated(w[n], first[n], second[n], g[n], f);
    uint32_t bits;
    memcpy(&bits, &wide, sizeof bits);
    const uint32_t chance = rounding_bits(words, element + static_cast<uint64_t>(n));
    w[n] = to_float(Bf16{rounded_by_chance(bits, chance)});
  }
  store(first, m + i);
  store(second, v + i);
  store(w, weight + i);  // bf16 already
}

}  // namespace

void CudaBackend::adamw(const Tensor& weight, const Tensor& master, const Tensor& m,
                        const Tensor& v, const Tensor& gradient, const AdamwStep& step) {
  const int64_t count = weight.elements();
  const AdamwFactors factors = factors_of(step);
  if (master.empty()) {
    const RoundingSource source = rounding_source(step);
    const bool together = step.first_element % kRoundedTogether == 0 &&
                          takes_vectors(count, {weight.raw(), m.raw(), v.raw(), gradient.raw()});
    with_width(together, [&](auto width) {
      launch({stream_, blocks_for(count / width, kThreads), kThreads},
             adamw_by_chance_kernel<width>, weight.data<Bf16>(), m.data<float>(), v.data<float>(),
             gradient.data<float>(), count, factors, source);
    });
    return;
  }
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
