// AdamW (Loshchilov & Hutter 2019, algorithm 2) with f32 master weights, or without:
//   m ← β₁m + (1 − β₁)g,  v ← β₂v + (1 − β₂)g²
//   w ← w·(1 − ηλ) − (η / (1 − β₁ᵗ)) · m / (√v / √(1 − β₂ᵗ) + ε)
#include <algorithm>
#include <bit>

#include "worker/backend/adamw_factors.h"
#include "worker/backend/cpu/bf16.h"
#include "worker/backend/cpu/cpu_backend.h"
#include "worker/backend/cpu/parallel.h"
#include "worker/backend/cpu/simd.h"
#include "worker/backend/stochastic_rounding.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "worker/backend/cpu/adamw.cpp"
#include <hwy/foreach_target.h>
// Order matters: after foreach_target.h.
#include "worker/backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ropesweep::backend::cpu {
namespace HWY_NAMESPACE {

template <typename T>
HWY_INLINE void adamw_any(T* weight, float* master, float* m, float* v, const float* gradient,
                          int64_t count, const AdamwFactors& f) {
  for_lanes(static_cast<size_t>(count), [&](auto d, size_t i) {
    const auto g = hn::Mul(load(d, gradient + i), hn::Set(d, f.gradient_scale));
    const auto g1 = hn::Mul(g, hn::Set(d, 1.0f - f.beta1));
    const auto g2 = hn::Mul(hn::Mul(g, g), hn::Set(d, 1.0f - f.beta2));
    const auto first = hn::MulAdd(load(d, m + i), hn::Set(d, f.beta1), g1);
    const auto second = hn::MulAdd(load(d, v + i), hn::Set(d, f.beta2), g2);
    store(first, d, m + i);
    store(second, d, v + i);
    const auto root =
        hn::MulAdd(hn::Sqrt(second), hn::Set(d, f.root_correction), hn::Set(d, f.epsilon));
    const auto step = hn::Div(hn::Mul(first, hn::Set(d, f.rate)), root);
    const auto updated = hn::MulSub(load(d, master + i), hn::Set(d, f.keep), step);
    store(updated, d, master + i);
    store(updated, d, weight + i);
  });
}

void adamw_f32(float* weight, float* master, float* m, float* v, const float* gradient,
               int64_t count, const AdamwFactors& factors) {
  adamw_any(weight, master, m, v, gradient, count, factors);
}

void adamw_bf16(Bf16* weight, float* master, float* m, float* v, const float* gradient,
                int64_t count, const AdamwFactors& factors) {
  adamw_any(weight, master, m, v, gradient, count, factors);
}

}  // namespace HWY_NAMESPACE
}  // namespace ropesweep::backend::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ropesweep::backend::cpu {

namespace {

HWY_EXPORT(adamw_f32);
HWY_EXPORT(adamw_bf16);

/// Weights without masters are taken this many at a time, in f32 on the stack.
constexpr int64_t kChunk = 1024;

/// Elements first … last − 1; each weight's random bits are those of its place in the tensor.
void adamw_by_chance(Bf16* weight, float* m, float* v, const float* gradient, int64_t first,
                     int64_t last, const AdamwFactors& factors, const RoundingSource& source) {
  float wide[kChunk];
  for (int64_t at = first; at < last; at += kChunk) {
    const int64_t count = std::min(kChunk, last - at);
    for (int64_t i = 0; i < count; ++i) wide[i] = to_float(weight[at + i]);
    HWY_DYNAMIC_DISPATCH(adamw_f32)(wide, wide, m + at, v + at, gradient + at, count, factors);
    std::array<uint32_t, 4> words = {};
    for (int64_t i = 0; i < count; ++i) {
      const uint64_t element = source.first_element + static_cast<uint64_t>(at + i);
      if (i == 0 || element % kRoundedTogether == 0) words = source.words(element);
      weight[at + i].bits =
          rounded_by_chance(std::bit_cast<uint32_t>(wide[i]), rounding_bits(words, element));
    }
  }
}

}  // namespace

void CpuBackend::adamw(const Tensor& weight, const Tensor& master, const Tensor& m, const Tensor& v,
                       const Tensor& gradient, const AdamwStep& step) {
  const AdamwFactors factors = factors_of(step);
  if (master.empty()) {
    const RoundingSource source = rounding_source(step);
    parallel_ranges(threads_, weight.elements(), 4096, [&](int64_t first, int64_t last) {
      adamw_by_chance(weight.data<Bf16>(), m.data<float>(), v.data<float>(), gradient.data<float>(),
                      first, last, factors, source);
    });
    return;
  }
  parallel_ranges(threads_, weight.elements(), 4096, [&](int64_t first, int64_t last) {
    float* const masters = master.data<float>() + first;
    float* const means = m.data<float>() + first;
    float* const squares = v.data<float>() + first;
    const float* const gradients = gradient.data<float>() + first;
    if (weight.dtype() == Dtype::f32) {
      HWY_DYNAMIC_DISPATCH(adamw_f32)
      (weight.data<float>() + first, masters, means, squares, gradients, last - first, factors);
    } else {
      HWY_DYNAMIC_DISPATCH(adamw_bf16)
      (weight.data<Bf16>() + first, masters, means, squares, gradients, last - first, factors);
    }
  });
}

}  // namespace ropesweep::backend::cpu
#endif  // HWY_ONCE
