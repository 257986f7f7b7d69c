// Sums, scaling, the sum of squares and the greatest logit.
#include <numeric>
#include <vector>

#include "worker/backend/cpu/cpu_backend.h"
#include "worker/backend/cpu/parallel.h"
#include "worker/backend/cpu/simd.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "worker/backend/cpu/elementwise.cpp"
#include <hwy/foreach_target.h>
// Order matters: after foreach_target.h.
#include "worker/backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ropesweep::backend::cpu {
namespace HWY_NAMESPACE {

template <typename To, typename From>
HWY_INLINE void add_any(void* to, const void* x, int64_t first, int64_t last) {
  To* sum = static_cast<To*>(to) + first;
  const From* term = static_cast<const From*>(x) + first;
  for_lanes(static_cast<size_t>(last - first), [&](auto d, size_t i) {
    store(hn::Add(load(d, sum + i), load(d, term + i)), d, sum + i);
  });
}

void add_range(void* to, bool to_f32, const void* x, bool x_f32, int64_t first, int64_t last) {
  if (to_f32) {
    x_f32 ? add_any<float, float>(to, x, first, last) : add_any<float, Bf16>(to, x, first, last);
  } else {
    x_f32 ? add_any<Bf16, float>(to, x, first, last) : add_any<Bf16, Bf16>(to, x, first, last);
  }
}

template <typename T>
HWY_INLINE void scale_any(void* data, float factor, int64_t first, int64_t last) {
  T* x = static_cast<T*>(data) + first;
  for_lanes(static_cast<size_t>(last - first), [&](auto d, size_t i) {
    store(hn::Mul(load(d, x + i), hn::Set(d, factor)), d, x + i);
  });
}

void scale_range(void* data, bool f32, float factor, int64_t first, int64_t last) {
  f32 ? scale_any<float>(data, factor, first, last) : scale_any<Bf16>(data, factor, first, last);
}

float squares_of(const float* x, int64_t count) {
  return sum_lanes(static_cast<size_t>(count), [&](auto d, size_t i) {
    const auto value = load(d, x + i);
    return hn::Mul(value, value);
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace ropesweep::backend::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ropesweep::backend::cpu {

namespace {

HWY_EXPORT(add_range);
HWY_EXPORT(scale_range);
HWY_EXPORT(squares_of);

constexpr int64_t kGrain = 8192;
/// Elements whose squares are summed in f32, before the sums are added up in f64.
constexpr int64_t kSumChunk = 4096;

}  // namespace

void CpuBackend::add(const Tensor& to, const Tensor& x) {
  parallel_ranges(threads_, to.elements(), kGrain, [&](int64_t first, int64_t last) {
    HWY_DYNAMIC_DISPATCH(add_range)
    (to.raw(), to.dtype() == Dtype::f32, x.raw(), x.dtype() == Dtype::f32, first, last);
  });
}

void CpuBackend::scale(const Tensor& x, float factor) {
  parallel_ranges(threads_, x.elements(), kGrain, [&](int64_t first, int64_t last) {
    HWY_DYNAMIC_DISPATCH(scale_range)(x.raw(), x.dtype() == Dtype::f32, factor, first, last);
  });
}

double CpuBackend::sum_of_squares(const std::vector<Tensor>& tensors) {
  double total = 0;
  for (const Tensor& x : tensors) {
    const int64_t chunks = (x.elements() + kSumChunk - 1) / kSumChunk;
    std::vector<double> sums(static_cast<size_t>(chunks));
    parallel_ranges(threads_, chunks, 4, [&](int64_t first, int64_t last) {
      for (int64_t chunk = first; chunk < last; ++chunk) {
        const int64_t begin = chunk * kSumChunk;
        const int64_t count = std::min(kSumChunk, x.elements() - begin);
        sums[static_cast<size_t>(chunk)] =
            double{HWY_DYNAMIC_DISPATCH(squares_of)(x.data<float>() + begin, count)};
      }
    });
    total += std::accumulate(sums.begin(), sums.end(), 0.0);
  }
  return total;
}

int64_t CpuBackend::argmax(const Tensor& logits) {
  const float* x = logits.data<float>();
  int64_t best = 0;
  for (int64_t i = 1; i < logits.elements(); ++i) {
    if (x[i] > x[best]) best = i;
  }
  return best;
}

void CpuBackend::argmax(const Tensor& index, const Tensor& logits) {
  *index.data<int32_t>() = static_cast<int32_t>(argmax(logits));
}

}  // namespace ropesweep::backend::cpu
#endif  // HWY_ONCE
