// Attention in blocks with an online softmax (Dao 2023, FlashAttention-2, algorithm 1).
//
// Letters: B batch · T queries · S keys · H query heads · G key-value heads · K head dimension.
// Keys and values are packed once per key-value head. A task is a tile of queries of one head; it
// walks over blocks of keys from the first to the last that the tile sees, keeping of each query
// the greatest score m, the sum l of the weights and the weighted sum of values o, all in f32.
// Blocks begin at multiples of their length, so that a query's sums don't depend on its tile.
#include <cmath>
#include <limits>
#include <numbers>

#include "worker/backend/cpu/attention_bias.h"
#include "worker/backend/cpu/attention_blocks.h"
#include "worker/backend/cpu/cpu_backend.h"
#include "worker/backend/cpu/parallel.h"
#include "worker/backend/cpu/simd.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "worker/backend/cpu/attention.cpp"
#include <hwy/foreach_target.h>
// Order matters: after foreach_target.h.
#include "worker/backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ropesweep::backend::cpu {
namespace HWY_NAMESPACE {

/// A row of a tile that is stored piece by piece, each [kQueryTile, kPiece].
constexpr int64_t kPieceStride = kQueryTile * kPiece;

/// Scores of one query, of which it sees begin … end − 1, become weights p = 2^((scores −
/// m)·scale), with zeros elsewhere up to the last piece's end; m and l are brought up to date, and
/// the factor returned by which o is to be multiplied.
template <typename T>
HWY_INLINE float softmax_row(T* weights, const float* scores, int64_t begin, int64_t end,
                             int64_t pieces, float scale, float& m, float& l) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto of_piece = [](int64_t key, int64_t piece) {
    return std::clamp<int64_t>(key - piece * kPiece, 0, kPiece);
  };
  const float before = m;
  auto top = hn::Set(d, m);
  for (int64_t piece = 0; piece * kPiece < end; ++piece) {
    const float* row = scores + piece * kPieceStride;
    const int64_t last = of_piece(end, piece);
    int64_t i = of_piece(begin, piece);
    for (; i + lanes <= last; i += lanes) top = hn::Max(top, hn::LoadU(d, row + i));
    for (; i < last; ++i) top = hn::Max(top, hn::Set(d, row[i]));
  }
  m = hn::GetLane(hn::MaxOfLanes(d, top));
  const float offset = m * scale;
  float sum = 0;
  for (int64_t piece = 0; piece < pieces; ++piece) {
    const int64_t first = of_piece(begin, piece), last = of_piece(end, piece);
    const float* row = scores + piece * kPieceStride + first;
    T* to = weights + piece * kPieceStride;
    const auto clear = [&](int64_t from, int64_t until) {
      for_lanes(static_cast<size_t>(until - from),
                [&](auto dd, size_t i) { store(hn::Zero(dd), dd, to + from + i); });
    };
    clear(0, first);
    sum += sum_lanes(static_cast<size_t>(last - first), [&](auto dd, size_t i) {
      const auto p =
          exp2_of(dd, hn::MulSub(load(dd, row + i), hn::Set(dd, scale), hn::Set(dd, offset)));
      store(p, dd, to + first + i);
      return p;
    });
    clear(last, kPiece);
  }
  const hn::CappedTag<float, 1> one;
  const float factor = hn::GetLane(exp2_of(one, hn::Set(one, (before - m) * scale)));
  l = l * factor + sum;
  return factor;
}

template <typename T>
HWY_INLINE void clear_row(T* weights, int64_t pieces) {
  for (int64_t piece = 0; piece < pieces; ++piece) {
    for_lanes(static_cast<size_t>(kPiece),
              [&](auto d, size_t i) { store(hn::Zero(d), d, weights + piece * kPieceStride + i); });
  }
}

HWY_INLINE void scale_row(float* row, size_t width, float factor) {
  for_lanes(width, [&](auto d, size_t i) {
    store(hn::Mul(load(d, row + i), hn::Set(d, factor)), d, row + i);
  });
}

/// Row i of the tile sees the keys first + i … end + i − 1 of the block, and none from `keys` on.
template <typename T>
HWY_INLINE void softmax_tile_any(void* weights, const float* scores, float* o, float* m, float* l,
                                 int64_t rows, int64_t pieces, const SeenKeys& seen,
                                 int64_t head_dim, float scale) {
  for (int64_t row = 0; row < rows; ++row) {
    T* to = static_cast<T*>(weights) + row * kPiece;
    const int64_t begin = std::max<int64_t>(seen.first + row, 0);
    const int64_t end = std::min({seen.end + row, seen.keys, pieces * kPiece});
    if (begin >= end) {
      clear_row(to, pieces);
      continue;
    }
    const float factor =
        softmax_row(to, scores + row * kPiece, begin, end, pieces, scale, m[row], l[row]);
    if (factor != 1.0f) scale_row(o + row * head_dim, static_cast<size_t>(head_dim), factor);
  }
}

void softmax_tile(void* weights, bool f32, const float* scores, float* o, float* m, float* l,
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

void finish_row(void* out, bool f32, const float* o, float factor, int64_t head_dim) {
  f32 ? finish_row_any<float>(out, o, factor, head_dim)
      : finish_row_any<Bf16>(out, o, factor, head_dim);
}

}  // namespace HWY_NAMESPACE
}  // namespace ropesweep::backend::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ropesweep::backend::cpu {

namespace {

HWY_EXPORT(softmax_tile);
HWY_EXPORT(finish_row);

/// Pieces of keys of a block: scores (f32) and weights of a tile stay in the second-level cache,
/// and the rescaling of o is spread over enough keys.
constexpr int64_t kPiecesOfBlock = 4;
constexpr int64_t kBlock = kPiecesOfBlock * kPiece;

/// The keys and values that any query sees, packed by sequence, key-value head and piece.
class PackedKeyValues {
 public:
  PackedKeyValues(const Tensor& k, const Tensor& v, const AttentionShape& shape,
                  const AttentionBand& band, int threads, MemoryPool& pool)
      : first_piece_(band.first_key(0) / kPiece),
        pieces_(std::max<int64_t>(pieces_of(band.end_key(shape.queries - 1)) - first_piece_, 0)),
        kv_heads_(shape.kv_heads),
        key_bytes_(packed_layout(k.dtype(), shape.head_dim, kPiece).bytes()),
        value_bytes_(packed_layout(k.dtype(), kPiece, shape.head_dim).bytes()),
        storage_(pool.allocate(static_cast<size_t>(shape.batch * shape.kv_heads * pieces_) *
                               (key_bytes_ + value_bytes_))) {
    parallel_tasks(threads, shape.batch * shape.kv_heads * pieces_, [&](int64_t task) {
      const int64_t piece = first_piece_ + task % pieces_;
      const int64_t head = task / pieces_ % shape.kv_heads;
      const int64_t batch = task / pieces_ / shape.kv_heads;
      pack_piece(keys(batch, head, piece), head_rows(k, batch, shape.keys, head), piece,
                 shape.head_dim, true);
      pack_piece(values(batch, head, piece), head_rows(v, batch, shape.keys, head), piece,
                 shape.head_dim, false);
    });
  }

  std::byte* keys(int64_t batch, int64_t head, int64_t piece) const {
    const int64_t index = (batch * kv_heads_ + head) * pieces_ + piece - first_piece_;
    return static_cast<std::byte*>(storage_.get()) +
           static_cast<size_t>(index) * (key_bytes_ + value_bytes_);
  }
  std::byte* values(int64_t batch, int64_t head, int64_t piece) const {
    return keys(batch, head, piece) + key_bytes_;
  }

 private:
  int64_t first_piece_, pieces_, kv_heads_;
  size_t key_bytes_, value_bytes_;
  std::shared_ptr<void> storage_;
};

/// Queries first … first + rows − 1 of one head against all keys that they see.
class QueryTile {
 public:
  QueryTile(const Tensor& out, const Tensor& lse, const Tensor& q, const PackedKeyValues& packed,
            const AttentionShape& shape, const AttentionBand& band, const Tensor& bias,
            int64_t batch, int64_t head, int64_t first)
      : out_(out),
        lse_(lse),
        packed_(packed),
        shape_(shape),
        band_(band),
        bias_(bias_of_head(bias, head)),
        unit_(bias.empty() ? shape.scale : 1.0f),
        batch_(batch),
        head_(head),
        kv_head_(head / (shape.heads / shape.kv_heads)),
        first_(first),
        rows_(std::min(kQueryTile, shape.queries - first)),
        queries_(head_rows(q, batch, shape.queries, head)),
        scores_(
            static_cast<float*>(thread_scratch(Slot::scores, kQueryTile * kBlock * sizeof(float)))),
        dense_queries_(thread_scratch(
            Slot::queries, static_cast<size_t>(kQueryTile * shape.head_dim) * size_of(q.dtype()))),
        weights_(thread_scratch(Slot::probabilities, kQueryTile * kBlock * sizeof(float))),
        o_(static_cast<float*>(thread_scratch(
            Slot::tile_b, static_cast<size_t>(kQueryTile * (shape.head_dim + 2)) * sizeof(float)))),
        m_(o_ + kQueryTile * shape.head_dim),
        l_(m_ + kQueryTile) {}

  void run() {
    const size_t row_bytes = static_cast<size_t>(shape_.head_dim) * size_of(queries_.dtype);
    for (int64_t row = 0; row < rows_; ++row) {
      std::memcpy(static_cast<std::byte*>(dense_queries_) + static_cast<size_t>(row) * row_bytes,
                  queries_.row(first_ + row), row_bytes);
    }
    std::fill_n(o_, rows_ * shape_.head_dim, 0.0f);
    std::fill_n(m_, rows_, -std::numeric_limits<float>::infinity());
    std::fill_n(l_, rows_, 0.0f);
    const int64_t begin = band_.first_key(first_), end = band_.end_key(first_ + rows_ - 1);
    for (int64_t block = begin / kBlock * kBlock; begin < end && block < end; block += kBlock) {
      const int64_t key = std::max(block, begin / kPiece * kPiece);
      add_block(key, std::min(block + kBlock - key, pieces_of(end - key) * kPiece) / kPiece);
    }
    finish();
  }

 private:
  /// Keys from `key`, a piece's first, on.
  void add_block(int64_t key, int64_t pieces) {
    const bool f32 = queries_.dtype == Dtype::f32;
    const int64_t head_dim = shape_.head_dim;
    const PackedLayout& by_key = packed_layout(queries_.dtype, head_dim, kPiece);
    for (int64_t piece = 0; piece < pieces; ++piece) {
      float* const scores = scores_ + piece * kQueryTile * kPiece;
      matmul(by_key, {.a = dense_queries_,
                      .lda = head_dim,
                      .packed = packed_.keys(batch_, kv_head_, key / kPiece + piece),
                      .c = scores,
                      .ldc = kPiece,
                      .m = rows_});
      if (bias_.count > 0) {
        add_bias(scores, rows_, kPiece, band_.distance(first_, key + piece * kPiece), -1,
                 shape_.scale, bias_);
      }
    }
    const int64_t position = band_.position + first_ - key;
    const SeenKeys seen{position - band_.farthest + 1, position - band_.nearest + 1,
                        band_.keys - key};
    HWY_DYNAMIC_DISPATCH(softmax_tile)
    (weights_, f32, scores_, o_, m_, l_, rows_, pieces, seen, head_dim,
     unit_ * std::numbers::log2e_v<float>);
    const PackedLayout& by_value = packed_layout(queries_.dtype, kPiece, head_dim);
    for (int64_t piece = 0; piece < pieces; ++piece) {
      matmul(by_value,
             {.a = static_cast<std::byte*>(weights_) +
                   static_cast<size_t>(piece * kQueryTile * kPiece) * size_of(queries_.dtype),
              .lda = kPiece,
              .packed = packed_.values(batch_, kv_head_, key / kPiece + piece),
              .c = o_,
              .ldc = head_dim,
              .accumulate = true,
              .m = rows_});
    }
  }

  void finish() {
    const int64_t head_dim = shape_.head_dim;
    const HeadRows to = head_rows(out_, batch_, shape_.queries, head_);
    float* lse = lse_.data<float>() + (batch_ * shape_.heads + head_) * shape_.queries + first_;
    for (int64_t row = 0; row < rows_; ++row) {
      HWY_DYNAMIC_DISPATCH(finish_row)
      (const_cast<std::byte*>(to.row(first_ + row)), out_.dtype() == Dtype::f32,
       o_ + row * head_dim, l_[row] == 0 ? 0.0f : 1.0f / l_[row], head_dim);
      lse[row] = m_[row] * unit_ + std::log(l_[row]);  // −∞ where no key is seen
    }
  }

  const Tensor& out_;
  const Tensor& lse_;
  const PackedKeyValues& packed_;
  const AttentionShape& shape_;
  const AttentionBand& band_;
  HeadBias bias_;
  float unit_;  ///< of a score: the bias is added to scaled ones
  int64_t batch_, head_, kv_head_, first_, rows_;
  HeadRows queries_;
  float* scores_;
  void* dense_queries_;
  void* weights_;
  float *o_, *m_, *l_;
};

}  // namespace

void CpuBackend::attention(const Tensor& out, const Tensor& lse, const Tensor& q, const Tensor& k,
                           const Tensor& v, const AttentionShape& shape, const Tensor& bias) {
  if (shape.queries <= kFewRows) {
    attention_of_few_queries(out, lse, q, k, v, shape, bias, threads_, *pool_);
    return;
  }
  if (q.dtype() == Dtype::bf16 && !has_bf16_product()) {
    const Tensor wide = allocate(Dtype::f32, q.shape());
    attention(wide, lse, converted(q, Dtype::f32), converted(k, Dtype::f32),
              converted(v, Dtype::f32), shape, bias);
    copy(out, wide);
    return;
  }
  const AttentionBand band = band_of(shape);
  const PackedKeyValues packed(k, v, shape, band, threads_, *pool_);
  const int64_t tiles = (shape.queries + kQueryTile - 1) / kQueryTile;
  const int64_t heads = shape.batch * shape.heads;
  parallel_tasks(threads_, tiles * heads, [&](int64_t task) {
    const int64_t first = (tiles - 1 - task / heads) * kQueryTile;  // the longest come first
    QueryTile(out, lse, q, packed, shape, band, bias, task % heads / shape.heads,
              task % heads % shape.heads, first)
        .run();
  });
}

}  // namespace ropesweep::backend::cpu
#endif  // HWY_ONCE
