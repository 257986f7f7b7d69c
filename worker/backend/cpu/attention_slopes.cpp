// The element-by-element part of attention's gradient (attention_slopes.h).
#include "worker/backend/cpu/attention_slopes.h"

#include "worker/backend/cpu/simd.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "worker/backend/cpu/attention_slopes.cpp"
#include <hwy/foreach_target.h>
// Order matters: after foreach_target.h.
#include "worker/backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ropesweep::backend::cpu {
namespace HWY_NAMESPACE {

template <typename T>
HWY_INLINE void weights_and_slopes_any(void* weights, void* slopes, const float* scores,
                                       const float* d_weights, const float* lse, const float* delta,
                                       int64_t keys, const SeenQueries& seen, float scale) {
  for (int64_t key = 0; key < keys; ++key) {
    const int64_t from = seen.from(key), to = seen.to(key);
    T* p_row = static_cast<T*>(weights) + key * kPiece;
    T* ds_row = static_cast<T*>(slopes) + key * kPiece;
    const auto clear = [&](int64_t begin, int64_t end) {
      for_lanes(static_cast<size_t>(end - begin), [&](auto d, size_t i) {
        store(hn::Zero(d), d, p_row + begin + i);
        store(hn::Zero(d), d, ds_row + begin + i);
      });
    };
    clear(0, from);
    const float* s_row = scores + key * kPiece + from;
    const float* dp_row = d_weights + key * kPiece + from;
    for_lanes(static_cast<size_t>(to - from), [&](auto d, size_t i) {
      const auto exponent =
          hn::MulSub(load(d, s_row + i), hn::Set(d, scale), load(d, lse + from + i));
      const auto p = exp2_of(d, exponent);
      store(p, d, p_row + from + i);
      store(hn::Mul(p, hn::Sub(load(d, dp_row + i), load(d, delta + from + i))), d,
            ds_row + from + i);
    });
    clear(to, kPiece);
  }
}

void weights_and_slopes_of_tile(void* weights, void* slopes, bool f32, const float* scores,
                                const float* d_weights, const float* lse, const float* delta,
                                int64_t keys, const SeenQueries& seen, float scale) {
  if (f32) {
    weights_and_slopes_any<float>(weights, slopes, scores, d_weights, lse, delta, keys, seen,
                                  scale);
  } else {
    weights_and_slopes_any<Bf16>(weights, slopes, scores, d_weights, lse, delta, keys, seen, scale);
  }
}

template <typename T>
HWY_INLINE float dot_any(const void* x, const void* y, int64_t count) {
  const T* a = static_cast<const T*>(x);
  const T* b = static_cast<const T*>(y);
  return sum_lanes(static_cast<size_t>(count),
                   [&](auto d, size_t i) { return hn::Mul(load(d, a + i), load(d, b + i)); });
}

float dot_of_rows(const void* x, const void* y, bool f32, int64_t count) {
  return f32 ? dot_any<float>(x, y, count) : dot_any<Bf16>(x, y, count);
}

template <typename T>
HWY_INLINE void sum_parts_any(void* out, const float* parts, int64_t stride, int64_t count,
                              int64_t width, float factor) {
  T* to = static_cast<T*>(out);
  for_lanes(static_cast<size_t>(width), [&](auto d, size_t i) {
    auto sum = load(d, parts + i);
    for (int64_t part = 1; part < count; ++part) {
      sum = hn::Add(sum, load(d, parts + part * stride + static_cast<int64_t>(i)));
    }
    store(hn::Mul(sum, hn::Set(d, factor)), d, to + i);
  });
}

void sum_of_parts(void* out, bool f32, const float* parts, int64_t stride, int64_t count,
                  int64_t width, float factor) {
  f32 ? sum_parts_any<float>(out, parts, stride, count, width, factor)
      : sum_parts_any<Bf16>(out, parts, stride, count, width, factor);
}

}  // namespace HWY_NAMESPACE
}  // namespace ropesweep::backend::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ropesweep::backend::cpu {

HWY_EXPORT(weights_and_slopes_of_tile);
HWY_EXPORT(dot_of_rows);
HWY_EXPORT(sum_of_parts);

void weights_and_slopes(void* weights, void* slopes, bool f32, const float* scores,
                        const float* d_weights, const float* lse, const float* delta, int64_t keys,
                        const SeenQueries& seen, float scale) {
  HWY_DYNAMIC_DISPATCH(weights_and_slopes_of_tile)
  (weights, slopes, f32, scores, d_weights, lse, delta, keys, seen, scale);
}

float dot_of(const void* x, const void* y, bool f32, int64_t count) {
  return HWY_DYNAMIC_DISPATCH(dot_of_rows)(x, y, f32, count);
}

void sum_parts(void* out, bool f32, const float* parts, int64_t stride, int64_t count,
               int64_t width, float factor) {
  HWY_DYNAMIC_DISPATCH(sum_of_parts)(out, f32, parts, stride, count, width, factor);
}

}  // namespace ropesweep::backend::cpu
#endif  // HWY_ONCE
