// Vector loads and stores that read f32 and bf16 alike as f32, loops with tails, and exp.
// Included once per target, after hwy/highway.h (see Highway's quick reference on -inl.h files).
#include <cstddef>
#include <cstdint>

#include "worker/backend/cpu/bf16.h"

#if defined(ROPESWEEP_SIMD_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef ROPESWEEP_SIMD_INL_H
#undef ROPESWEEP_SIMD_INL_H
#else
#define ROPESWEEP_SIMD_INL_H
#endif

#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace ropesweep::backend::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class D>
HWY_INLINE hn::Vec<D> load(D d, const float* from) {
  return hn::LoadU(d, from);
}

template <class D>
HWY_INLINE hn::Vec<D> load(D d, const Bf16* from) {
  const hn::Rebind<uint32_t, D> du32;
  const hn::Rebind<uint16_t, D> du16;
  const auto bits = hn::LoadU(du16, reinterpret_cast<const uint16_t*>(from));
  return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(du32, bits)));
}

template <class D>
HWY_INLINE void store(hn::Vec<D> x, D d, float* to) {
  hn::StoreU(x, d, to);
}

/// Rounds to nearest even by integers: Highway 1.0.3's own DemoteTo truncates.
template <class D>
HWY_INLINE void store(hn::Vec<D> x, D, Bf16* to) {
  const hn::Rebind<int32_t, D> di32;
  const hn::Rebind<uint32_t, D> du32;
  const hn::Rebind<uint16_t, D> du16;
  const auto bits = hn::BitCast(du32, x);
  const auto upper = hn::ShiftRight<16>(bits);
  const auto odd = hn::And(upper, hn::Set(du32, 1));
  const auto rounded = hn::ShiftRight<16>(hn::Add(hn::Add(bits, hn::Set(du32, 0x7FFF)), odd));
  const auto quiet = hn::Or(upper, hn::Set(du32, 0x40));
  const auto nan = hn::RebindMask(du32, hn::IsNaN(x));
  const auto result = hn::BitCast(di32, hn::IfThenElse(nan, quiet, rounded));
  hn::StoreU(hn::DemoteTo(du16, result), du16, reinterpret_cast<uint16_t*>(to));
}

/// step(d, i) for i = 0 … n − 1: whole vectors first, then one lane at a time.
template <class Step>
HWY_INLINE void for_lanes(size_t n, Step&& step) {
  const hn::ScalableTag<float> d;
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) step(d, i);
  const hn::CappedTag<float, 1> one;
  for (; i < n; ++i) step(one, i);
}

/// Σ term(d, i): the vectors' sum in four accumulators, then the tail, in an order that only n
/// sets.
template <class Term>
HWY_INLINE float sum_lanes(size_t n, Term&& term) {
  const hn::ScalableTag<float> d;
  const size_t lanes = hn::Lanes(d);
  auto s0 = hn::Zero(d), s1 = hn::Zero(d), s2 = hn::Zero(d), s3 = hn::Zero(d);
  size_t i = 0;
  for (; i + 4 * lanes <= n; i += 4 * lanes) {
    s0 = hn::Add(s0, term(d, i));
    s1 = hn::Add(s1, term(d, i + lanes));
    s2 = hn::Add(s2, term(d, i + 2 * lanes));
    s3 = hn::Add(s3, term(d, i + 3 * lanes));
  }
  for (; i + lanes <= n; i += lanes) s0 = hn::Add(s0, term(d, i));
  float sum = hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(s0, s1), hn::Add(s2, s3))));
  const hn::CappedTag<float, 1> one;
  for (; i < n; ++i) sum += hn::GetLane(term(one, i));
  return sum;
}

/// 2^x for x ≤ 127, 0 below −126 (no denormals): x = n + f, |f| ≤ ½; 2^f by its Taylor polynomial
/// of degree 7, whose remainder (f·ln2)^8/8! is below 1e-8.
template <class D>
HWY_INLINE hn::Vec<D> exp2_of(D d, hn::Vec<D> x) {
  const hn::Rebind<int32_t, D> di32;
  const auto tiny = hn::Lt(x, hn::Set(d, -126.0f));
  const auto clamped = hn::Max(hn::Set(d, -126.0f), x);  // x second: a NaN comes through
  const auto whole = hn::Round(clamped);
  const auto f = hn::Sub(clamped, whole);
  auto p = hn::Set(d, 1.52527338e-5f);
  p = hn::MulAdd(p, f, hn::Set(d, 1.54035304e-4f));
  p = hn::MulAdd(p, f, hn::Set(d, 1.33335581e-3f));
  p = hn::MulAdd(p, f, hn::Set(d, 9.61812911e-3f));
  p = hn::MulAdd(p, f, hn::Set(d, 5.55041087e-2f));
  p = hn::MulAdd(p, f, hn::Set(d, 2.40226507e-1f));
  p = hn::MulAdd(p, f, hn::Set(d, 6.93147181e-1f));
  p = hn::MulAdd(p, f, hn::Set(d, 1.0f));
  const auto exponent = hn::ShiftLeft<23>(hn::ConvertTo(di32, whole));
  const auto scaled = hn::BitCast(d, hn::Add(hn::BitCast(di32, p), exponent));
  return hn::IfThenZeroElse(tiny, scaled);
}

/// e^x for x ≤ 88: 2^(x·log2 e) with log2 e in two parts so that large |x| keep their bits.
template <class D>
HWY_INLINE hn::Vec<D> exp_of(D d, hn::Vec<D> x) {
  const hn::Rebind<int32_t, D> di32;
  const auto tiny = hn::Lt(x, hn::Set(d, -87.0f));
  const auto clamped = hn::Min(hn::Max(x, hn::Set(d, -87.0f)), hn::Set(d, 88.3f));
  const auto whole = hn::Round(hn::Mul(clamped, hn::Set(d, 1.44269504f)));
  auto r = hn::NegMulAdd(whole, hn::Set(d, 0.693359375f), clamped);
  r = hn::NegMulAdd(whole, hn::Set(d, -2.12194440e-4f), r);
  auto p = hn::Set(d, 1.0f / 5040);
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f / 720));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f / 120));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f / 24));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f / 6));
  p = hn::MulAdd(p, r, hn::Set(d, 0.5f));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f));
  const auto exponent = hn::ShiftLeft<23>(hn::ConvertTo(di32, whole));
  const auto scaled = hn::BitCast(d, hn::Add(hn::BitCast(di32, p), exponent));
  // A NaN comes through as a NaN: a diverged model must be seen.
  return hn::IfThenElse(hn::IsNaN(x), x, hn::IfThenZeroElse(tiny, scaled));
}

}  // namespace HWY_NAMESPACE
}  // namespace ropesweep::backend::cpu
HWY_AFTER_NAMESPACE();

#endif  // ROPESWEEP_SIMD_INL_H
