// The online softmax of a tile of scores (attention_softmax.h).
#include "worker/backend/cpu/attention_softmax.h"

#include "worker/backend/cpu/simd.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "worker/backend/cpu/attention_softmax.cpp"
#include <hwy/foreach_target.h>
// Order matters: after foreach_target.h.
#include "worker/backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ropesweep::backend::cpu {
namespace HWY_NAMESPACE {

/// A row of a tile that is stored piece by piece, each [kQueryTile, kPiece].
constexpr int64_t kPieceStride = kQueryTile * kPiece;

template <class V>
HWY_INLINE V max_of(V top, const float* scores, int64_t count) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) top = hn::Max(top, hn::LoadU(d, scores + i));
  for (; i < count; ++i) top = hn::Max(top, hn::Set(d, scores[i]));
  return top;
}

/// Weights of `count` scores, and their sum.
template <typename T>
HWY_INLINE float weigh(T* weights, const float* scores, int64_t count, float scale, float offset) {
  return sum_lanes(static_cast<size_t>(count), [&](auto d, size_t i) {
    const auto p =
        exp2_of(d, hn::MulSub(load(d, scores + i), hn::Set(d, scale), hn::Set(d, offset)));
    store(p, d, weights + i);
    return p;
  });
}

template <typename T>
HWY_INLINE void clear(T* weights, int64_t count) {
  for_lanes(static_cast<size_t>(count),
            [&](auto d, size_t i) { store(hn::Zero(d), d, weights + i); });
}

/// Scores of one query, of which it sees begin … end − 1, become weights p = 2^((scores −
/// m)·scale), with zeros elsewhere up to the last piece's end; m and l are brought up to date, and
/// the factor returned by which o is to be multiplied.
template <typename T>
HWY_INLINE float softmax_row(T* weights, const float* scores, int64_t begin, int64_t end,
                             int64_t pieces, float scale, float& m, float& l) {
  const hn::ScalableTag<float> d;
  // Pieces seen in full have a length that the compiler knows.
  const auto is_whole = [&](int64_t piece) {
    return begin <= piece * kPiece && end >= (piece + 1) * kPiece;
  };
  const auto of_piece = [](int64_t key, int64_t piece) {
    return std::clamp<int64_t>(key - piece * kPiece, 0, kPiece);
  };
  const float before = m;
  auto top = hn::Set(d, m);
  for (int64_t piece = 0; piece * kPiece < end; ++piece) {
    const float* row = scores + piece * kPieceStride;
    if (is_whole(piece)) {
      top = max_of(top, row, kPiece);
    } else {
      const int64_t first = of_piece(begin, piece);
      top = max_of(top, row + first, of_piece(end, piece) - first);
    }
  }
  m = hn::GetLane(hn::MaxOfLanes(d, top));
  const float offset = m * scale;
  float sum = 0;
  for (int64_t piece = 0; piece < pieces; ++piece) {
    const float* row = scores + piece * kPieceStride;
    T* to = weights + piece * kPieceStride;
    if (is_whole(piece)) {
      sum += weigh(to, row, kPiece, scale, offset);
    } else {
      const int64_t first = of_piece(begin, piece), last = of_piece(end, piece);
      clear(to, first);
      sum += weigh(to + first, row + first, last - first, scale, offset);
      clear(to + last, kPiece - last);
    }
  }
  const hn::CappedTag<float, 1> one;
  const float factor = hn::GetLane(exp2_of(one, hn::Set(one, (before - m) * scale)));
  l = l * factor + sum;
  return factor;
}

HWY_INLINE void scale_row(float* row, size_t width, float factor) {
  for_lanes(width, [&](auto d, size_t i) {
    store(hn::Mul(load(d, row + i), hn::Set(d, factor)), d, row + i);
  });
}

template <typename T>
HWY_INLINE void softmax_tile_any(void* weights, const float* scores, float* o, float* m, float* l,
                                 int64_t rows, int64_t pieces, const SeenKeys& seen,
                                 int64_t head_dim, float scale) {
  for (int64_t row = 0; row < rows; ++row) {
    T* to = static_cast<T*>(weights) + row * kPiece;
    const int64_t begin = std::max<int64_t>(seen.first + row, 0);
    const int64_t end = std::min({seen.end + row, seen.keys, pieces * kPiece});
    if (begin >= end) {
      for (int64_t piece = 0; piece < pieces; ++piece) clear(to + piece * kPieceStride, kPiece);
      continue;
    }
    const float factor =
        softmax_row(to, scores + row * kPiece, begin, end, pieces, scale, m[row], l[row]);
    if (factor != 1.0f) scale_row(o + row * head_dim, static_cast<size_t>(head_dim), factor);
  }
}

void softmax_of_tile(void* weights, bool f32, const float* scores, float* o, float* m, float* l,
                     int64_t rows, int64_t pieces, const SeenKeys& seen, int64_t head_dim,
                     float scale) {
  if (f32) {
    softmax_tile_any<float>(weights, scores, o, m, l, rows, pieces, seen, head_dim, scale);
  } else {
    softmax_tile_any<Bf16>(weights, scores, o, m, l, rows, pieces, seen, head_dim, scale);
  }
}

template <typename T>
HWY_INLINE void finish_row_any(void* out, const float* o, float factor, int64_t head_dim) {
  T* to = static_cast<T*>(out);
  for_lanes(static_cast<size_t>(head_dim), [&](auto d, size_t i) {
    store(hn::Mul(load(d, o + i), hn::Set(d, factor)), d, to + i);
  });
}

void finish_one_row(void* out, bool f32, const float* o, float factor, int64_t head_dim) {
  f32 ? finish_row_any<float>(out, o, factor, head_dim)
      : finish_row_any<Bf16>(out, o, factor, head_dim);
}

}  // namespace HWY_NAMESPACE
}  // namespace ropesweep::backend::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ropesweep::backend::cpu {

HWY_EXPORT(softmax_of_tile);
HWY_EXPORT(finish_one_row);

void softmax_tile(void* weights, bool f32, const float* scores, float* o, float* m, float* l,
                  int64_t rows, int64_t pieces, const SeenKeys& seen, int64_t head_dim,
                  float scale) {
  HWY_DYNAMIC_DISPATCH(softmax_of_tile)
  (weights, f32, scores, o, m, l, rows, pieces, seen, head_dim, scale);
}

void finish_row(void* out, bool f32, const float* o, float factor, int64_t head_dim) {
  HWY_DYNAMIC_DISPATCH(finish_one_row)(out, f32, o, factor, head_dim);
}

}  // namespace ropesweep::backend::cpu
#endif  // HWY_ONCE
