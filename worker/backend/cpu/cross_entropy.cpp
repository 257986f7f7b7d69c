// Cross-entropy over a chunk of logits [R, V], and its gradient.
#include <cmath>

#include "worker/backend/cpu/cpu_backend.h"
#include "worker/backend/cpu/parallel.h"
#include "worker/backend/cpu/simd.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "worker/backend/cpu/cross_entropy.cpp"
#include <hwy/foreach_target.h>
// Order matters: after foreach_target.h.
#include "worker/backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ropesweep::backend::cpu {
namespace HWY_NAMESPACE {

float greatest(const float* x, size_t count) {
  const hn::ScalableTag<float> d;
  const size_t lanes = hn::Lanes(d);
  float best = x[0];
  size_t i = 0;
  if (count >= lanes) {
    auto most = hn::LoadU(d, x);
    for (i = lanes; i + lanes <= count; i += lanes) most = hn::Max(most, hn::LoadU(d, x + i));
    best = hn::GetLane(hn::MaxOfLanes(d, most));
  }
  for (; i < count; ++i) best = x[i] > best ? x[i] : best;
  return best;
}

float sum_of_exp(const float* x, size_t count, float most) {
  return sum_lanes(count, [&](auto d, size_t i) {
    return exp_of(d, hn::Sub(load(d, x + i), hn::Set(d, most)));
  });
}

/// out = exp(x − most) · factor; `out` may be `x`.
template <typename T>
HWY_INLINE void scaled_exp_any(T* out, const float* x, size_t count, float most, float factor) {
  for_lanes(count, [&](auto d, size_t i) {
    const auto e = exp_of(d, hn::Sub(load(d, x + i), hn::Set(d, most)));
    store(hn::Mul(e, hn::Set(d, factor)), d, out + i);
  });
}

void scaled_exp_f32(float* out, const float* x, size_t count, float most, float factor) {
  scaled_exp_any(out, x, count, most, factor);
}

void scaled_exp_bf16(Bf16* out, const float* x, size_t count, float most, float factor) {
  scaled_exp_any(out, x, count, most, factor);
}

}  // namespace HWY_NAMESPACE
}  // namespace ropesweep::backend::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ropesweep::backend::cpu {

namespace {

HWY_EXPORT(greatest);
HWY_EXPORT(sum_of_exp);
HWY_EXPORT(scaled_exp_f32);
HWY_EXPORT(scaled_exp_bf16);

void check_targets(const char* op, const Tensor& logits, const Tensor& targets) {
  for (int64_t row = 0; row < logits.dim(0); ++row) {
    require(targets.data<int32_t>()[row] < logits.dim(1), op, "a target is not below V");
  }
}

/// d_row[0 … vocabulary) = (softmax(x) − onehot(target)) · scale.
template <typename T, typename ScaledExp>
void gradient_row(T* d_row, const float* x, int64_t vocabulary, int32_t target, float scale,
                  ScaledExp&& scaled_exp) {
  if (target < 0) {
    for (int64_t i = 0; i < vocabulary; ++i) from_float(0.0f, d_row[i]);
    return;
  }
  const auto count = static_cast<size_t>(vocabulary);
  const float most = HWY_DYNAMIC_DISPATCH(greatest)(x, count);
  const float sum = HWY_DYNAMIC_DISPATCH(sum_of_exp)(x, count, most);
  const float chosen =
      std::exp(x[target] - most) / sum;  // before d_row, which may be x, is written
  scaled_exp(d_row, x, count, most, scale / sum);
  from_float((chosen - 1.0f) * scale, d_row[target]);
}

}  // namespace

void CpuBackend::cross_entropy(const Tensor& nll, const Tensor& logits, const Tensor& targets) {
  check_targets("cross_entropy", logits, targets);
  const int64_t vocabulary = logits.dim(1);
  parallel_tasks(threads_, logits.dim(0), [&](int64_t row) {
    const int32_t target = targets.data<int32_t>()[row];
    const float* x = logits.data<float>() + row * vocabulary;
    float& loss = nll.data<float>()[row];
    loss = 0;
    if (target < 0) return;
    const auto count = static_cast<size_t>(vocabulary);
    const float most = HWY_DYNAMIC_DISPATCH(greatest)(x, count);
    const float sum = HWY_DYNAMIC_DISPATCH(sum_of_exp)(x, count, most);
    loss = std::log(sum) + (most - x[target]);
  });
}

void CpuBackend::cross_entropy_backward(const Tensor& d_logits, const Tensor& logits,
                                        const Tensor& targets, float scale) {
  check_targets("cross_entropy_backward", logits, targets);
  const int64_t vocabulary = logits.dim(1);
  parallel_tasks(threads_, logits.dim(0), [&](int64_t row) {
    const int32_t target = targets.data<int32_t>()[row];
    const int64_t at = row * vocabulary;
    const float* x = logits.data<float>() + at;
    if (d_logits.dtype() == Dtype::f32) {
      gradient_row(d_logits.data<float>() + at, x, vocabulary, target, scale,
                   HWY_DYNAMIC_DISPATCH(scaled_exp_f32));
    } else {
      gradient_row(d_logits.data<Bf16>() + at, x, vocabulary, target, scale,
                   HWY_DYNAMIC_DISPATCH(scaled_exp_bf16));
    }
  });
}

}  // namespace ropesweep::backend::cpu
#endif  // HWY_ONCE
