// The bias of attention scores by distance, and its gradient (attention_bias.h).
#include "worker/backend/cpu/attention_bias.h"

#include <numbers>

#include "worker/backend/cpu/simd.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "worker/backend/cpu/attention_bias.cpp"
#include <hwy/foreach_target.h>
// Order matters: after foreach_target.h.
#include "worker/backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ropesweep::backend::cpu {
namespace HWY_NAMESPACE {

/// step(d, i) for i = from … to − 1, vectors first.
template <class Step>
HWY_INLINE void for_range(int64_t from, int64_t to, Step&& step) {
  if (from >= to) return;
  for_lanes(static_cast<size_t>(to - from),
            [&](auto d, size_t i) { step(d, from + static_cast<int64_t>(i)); });
}

/// The lanes of at, at − 1, at − 2 …
template <class D>
HWY_INLINE hn::Vec<D> load_backward(D d, const float* at) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto lowest_first = hn::LoadU(d, at - (lanes - 1));
  if (lanes == 1) return lowest_first;
  return hn::Reverse(d, lowest_first);
}

/// A row whose distances fall: the last element's run, then the bias backward, then none.
HWY_INLINE void bias_falling_row(float* row, int64_t columns, int64_t distance, float scale,
                                 const float* bias, int64_t n) {
  const int64_t far = std::clamp<int64_t>(distance - n + 2, 0, columns);
  const int64_t near = std::clamp<int64_t>(distance + 1, far, columns);
  const auto run = [&](int64_t from, int64_t to, auto&& bias_at) {
    for_range(from, to, [&](auto d, int64_t i) {
      hn::StoreU(hn::MulAdd(hn::LoadU(d, row + i), hn::Set(d, scale), bias_at(d, i)), d, row + i);
    });
  };
  run(0, far, [&](auto d, int64_t) { return hn::Set(d, bias[n - 1]); });
  run(far, near, [&](auto d, int64_t i) { return load_backward(d, bias + distance - i); });
  run(near, columns, [&](auto d, int64_t) { return hn::Zero(d); });
}

/// A row whose distances rise.
HWY_INLINE void bias_rising_row(float* row, int64_t columns, int64_t distance, float scale,
                                const float* bias, int64_t n) {
  const int64_t near = std::clamp<int64_t>(-distance, 0, columns);
  const int64_t far = std::clamp<int64_t>(n - 1 - distance, near, columns);
  const auto run = [&](int64_t from, int64_t to, auto&& bias_at) {
    for_range(from, to, [&](auto d, int64_t i) {
      hn::StoreU(hn::MulAdd(hn::LoadU(d, row + i), hn::Set(d, scale), bias_at(d, i)), d, row + i);
    });
  };
  run(0, near, [&](auto d, int64_t) { return hn::Zero(d); });
  run(near, far, [&](auto d, int64_t i) { return hn::LoadU(d, bias + distance + i); });
  run(far, columns, [&](auto d, int64_t) { return hn::Set(d, bias[n - 1]); });
}

void bias_rows(float* scores, int64_t rows, int64_t columns, int64_t distance, int64_t step,
               float scale, const HeadBias& bias) {
  for (int64_t row = 0; row < rows; ++row) {
    float* const at = scores + row * kPiece;
    if (step < 0) {
      bias_falling_row(at, columns, distance + row, scale, bias.data, bias.count);
    } else {
      bias_rising_row(at, columns, distance - row, scale, bias.data, bias.count);
    }
  }
}

void sum_slopes(float* sums, int64_t n, const BiasGradientTile& tile) {
  for (int64_t row = 0; row < tile.rows; ++row) {
    const int64_t distance = tile.distance - row;  // of the row's first column
    const int64_t from = std::max(tile.seen.from(row), -distance), to = tile.seen.to(row);
    const int64_t far = std::clamp(n - 1 - distance, from, std::max(from, to));
    const auto slopes = [&](auto d, int64_t i) {
      const auto exponent =
          hn::MulSub(hn::LoadU(d, tile.scores + row * kPiece + i),
                     hn::Set(d, std::numbers::log2e_v<float>), hn::LoadU(d, tile.lse + i));
      return hn::Mul(exp2_of(d, exponent), hn::Sub(hn::LoadU(d, tile.d_weights + row * kPiece + i),
                                                   hn::LoadU(d, tile.delta + i)));
    };
    for_range(from, far, [&](auto d, int64_t i) {
      float* const at = sums + distance + i;
      hn::StoreU(hn::Add(hn::LoadU(d, at), slopes(d, i)), d, at);
    });
    if (far >= to) continue;
    sums[n - 1] += sum_lanes(static_cast<size_t>(to - far), [&](auto d, size_t i) {
      return slopes(d, far + static_cast<int64_t>(i));
    });
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace ropesweep::backend::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ropesweep::backend::cpu {

HWY_EXPORT(bias_rows);
HWY_EXPORT(sum_slopes);

void add_bias(float* scores, int64_t rows, int64_t columns, int64_t distance, int64_t step,
              float scale, const HeadBias& bias) {
  HWY_DYNAMIC_DISPATCH(bias_rows)(scores, rows, columns, distance, step, scale, bias);
}

void add_bias_gradient(float* sums, int64_t n, const BiasGradientTile& tile) {
  HWY_DYNAMIC_DISPATCH(sum_slopes)(sums, n, tile);
}

}  // namespace ropesweep::backend::cpu
#endif  // HWY_ONCE
