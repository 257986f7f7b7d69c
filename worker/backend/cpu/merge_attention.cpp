// Two partial attentions of the same queries over different keys become one (Liu 2023, ring
// attention; the identity behind Dao 2023, FlashAttention-2).
//
// Letters: B batch · T queries · H heads · K head dimension.
#include <cmath>
#include <limits>

#include "worker/backend/cpu/cpu_backend.h"
#include "worker/backend/cpu/parallel.h"
#include "worker/backend/cpu/simd.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "worker/backend/cpu/merge_attention.cpp"
#include <hwy/foreach_target.h>
// Order matters: after foreach_target.h.
#include "worker/backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ropesweep::backend::cpu {
namespace HWY_NAMESPACE {

template <typename T>
HWY_INLINE void weigh_rows_any(void* out, float weight, const void* part, float part_weight,
                               int64_t width) {
  T* const to = static_cast<T*>(out);
  const T* const from = static_cast<const T*>(part);
  for_lanes(static_cast<size_t>(width), [&](auto d, size_t i) {
    const auto kept = hn::Mul(load(d, to + i), hn::Set(d, weight));
    store(hn::MulAdd(load(d, from + i), hn::Set(d, part_weight), kept), d, to + i);
  });
}

/// out = weight · out + part_weight · part, of `width` elements.
void weigh_rows(void* out, float weight, const void* part, float part_weight, bool f32,
                int64_t width) {
  f32 ? weigh_rows_any<float>(out, weight, part, part_weight, width)
      : weigh_rows_any<Bf16>(out, weight, part, part_weight, width);
}

}  // namespace HWY_NAMESPACE
}  // namespace ropesweep::backend::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ropesweep::backend::cpu {

HWY_EXPORT(weigh_rows);

void CpuBackend::merge_attention(const Tensor& out, const Tensor& lse, const Tensor& part_out,
                                 const Tensor& part_lse) {
  const int64_t heads = lse.dim(1), queries = lse.dim(2), head_dim = out.dim(2);
  parallel_ranges(threads_, out.dim(0), 16, [&](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) {
      for (int64_t head = 0; head < heads; ++head) {
        const int64_t statistic = (row / queries * heads + head) * queries + row % queries;
        float& own = lse.data<float>()[statistic];
        const float other = part_lse.data<float>()[statistic];
        // No key among the part's: all stays as it is, −∞ and zeros too.
        if (other == -std::numeric_limits<float>::infinity()) continue;
        const float most = std::fmax(own, other);
        const float weight = std::exp(own - most), part_weight = std::exp(other - most);
        const float sum = weight + part_weight;
        const auto element =
            static_cast<size_t>((row * heads + head) * head_dim) * size_of(out.dtype());
        HWY_DYNAMIC_DISPATCH(weigh_rows)
        (out.data<std::byte>() + element, weight / sum, part_out.data<std::byte>() + element,
         part_weight / sum, out.dtype() == Dtype::f32, head_dim);
        own = most + std::log(sum);
      }
    }
  });
}

}  // namespace ropesweep::backend::cpu
#endif  // HWY_ONCE
