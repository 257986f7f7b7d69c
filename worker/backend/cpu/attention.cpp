// Causal attention in blocks with an online softmax (Dao 2023, FlashAttention-2, algorithm 1).
//
// Letters: B batch · T queries · S keys · H query heads · G key-value heads · K head dimension.
// Keys and values are packed once per key-value head. A task is a tile of queries of one head; it
// walks over blocks of keys from the first to the diagonal, keeping of each query the greatest
// score m, the sum l of the weights and the weighted sum of values o, all in f32.
#include <cmath>
#include <limits>
#include <numbers>

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

/// Scores of one query against `visible` keys become weights p = 2^((scores − m)·scale), with zeros
/// up to the last piece's end; m and l are brought up to date, and the factor returned by which o
/// is to be multiplied.
template <typename T>
HWY_INLINE float softmax_row(T* weights, const float* scores, int64_t visible, int64_t pieces,
                             float scale, float& m, float& l) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const float before = m;
  auto top = hn::Set(d, m);
  for (int64_t piece = 0, left = visible; left > 0; ++piece, left -= kPiece) {
    const float* row = scores + piece * kPieceStride;
    const int64_t count = left < kPiece ? left : kPiece;
    int64_t i = 0;
    for (; i + lanes <= count; i += lanes) top = hn::Max(top, hn::LoadU(d, row + i));
    for (; i < count; ++i) top = hn::Max(top, hn::Set(d, row[i]));
  }
  m = hn::GetLane(hn::MaxOfLanes(d, top));
  const float offset = m * scale;
  float sum = 0;
  for (int64_t piece = 0; piece < pieces; ++piece) {
    const float* row = scores + piece * kPieceStride;
    T* to = weights + piece * kPieceStride;
    const int64_t seen = std::clamp<int64_t>(visible - piece * kPiece, 0, kPiece);
    const auto count = static_cast<size_t>(seen);
    sum += sum_lanes(count, [&](auto dd, size_t i) {
      const auto p =
          exp2_of(dd, hn::MulSub(load(dd, row + i), hn::Set(dd, scale), hn::Set(dd, offset)));
      store(p, dd, to + i);
      return p;
    });
    for_lanes(static_cast<size_t>(kPiece) - count,
              [&](auto dd, size_t i) { store(hn::Zero(dd), dd, to + count + i); });
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

/// Row i of the tile sees the first visible + i keys of the block (none when that is below 1).
template <typename T>
HWY_INLINE void softmax_tile_any(void* weights, const float* scores, float* o, float* m, float* l,
                                 int64_t rows, int64_t pieces, int64_t visible, int64_t head_dim,
                                 float scale) {
  for (int64_t row = 0; row < rows; ++row) {
    T* to = static_cast<T*>(weights) + row * kPiece;
    const int64_t seen = std::clamp<int64_t>(visible + row, 0, pieces * kPiece);
    const float factor =
        softmax_row(to, scores + row * kPiece, seen, pieces, scale, m[row], l[row]);
    if (factor != 1.0f) scale_row(o + row * head_dim, static_cast<size_t>(head_dim), factor);
  }
}

void softmax_tile(void* weights, bool f32, const float* scores, float* o, float* m, float* l,
                  int64_t rows, int64_t pieces, int64_t visible, int64_t head_dim, float scale) {
  if (f32) {
    softmax_tile_any<float>(weights, scores, o, m, l, rows, pieces, visible, head_dim, scale);
  } else {
    softmax_tile_any<Bf16>(weights, scores, o, m, l, rows, pieces, visible, head_dim, scale);
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

/// All keys and values, packed by sequence, key-value head and piece.
class PackedKeyValues {
 public:
  PackedKeyValues(const Tensor& k, const Tensor& v, const AttentionShape& shape, int threads,
                  MemoryPool& pool)
      : pieces_(pieces_of(shape.keys)),
        kv_heads_(shape.kv_heads),
        key_bytes_(packed_layout(k.dtype(), shape.head_dim, kPiece).bytes()),
        value_bytes_(packed_layout(k.dtype(), kPiece, shape.head_dim).bytes()),
        storage_(pool.allocate(static_cast<size_t>(shape.batch * shape.kv_heads * pieces_) *
                               (key_bytes_ + value_bytes_))) {
    parallel_tasks(threads, shape.batch * shape.kv_heads * pieces_, [&](int64_t task) {
      const int64_t piece = task % pieces_, head = task / pieces_ % shape.kv_heads;
      const int64_t batch = task / pieces_ / shape.kv_heads;
      pack_piece(keys(batch, head, piece), head_rows(k, batch, shape.keys, head), piece,
                 shape.head_dim, true);
      pack_piece(values(batch, head, piece), head_rows(v, batch, shape.keys, head), piece,
                 shape.head_dim, false);
    });
  }

  std::byte* keys(int64_t batch, int64_t head, int64_t piece) const {
    const int64_t index = (batch * kv_heads_ + head) * pieces_ + piece;
    return static_cast<std::byte*>(storage_.get()) +
           static_cast<size_t>(index) * (key_bytes_ + value_bytes_);
  }
  std::byte* values(int64_t batch, int64_t head, int64_t piece) const {
    return keys(batch, head, piece) + key_bytes_;
  }

 private:
  int64_t pieces_, kv_heads_;
  size_t key_bytes_, value_bytes_;
  std::shared_ptr<void> storage_;
};

/// Queries first … first + rows − 1 of one head against all keys that they see.
class QueryTile {
 public:
  QueryTile(const Tensor& out, const Tensor& lse, const Tensor& q, const PackedKeyValues& packed,
            const AttentionShape& shape, int64_t batch, int64_t head, int64_t first)
      : out_(out),
        lse_(lse),
        packed_(packed),
        shape_(shape),
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
    // The last query of the tile sees the keys below `end`.
    const int64_t end = shape_.keys - shape_.queries + first_ + rows_;
    for (int64_t key = 0; key < end; key += kBlock) {
      add_block(key, std::min(kPiecesOfBlock, pieces_of(end - key)));
    }
    finish();
  }

 private:
  void add_block(int64_t key, int64_t pieces) {
    const bool f32 = queries_.dtype == Dtype::f32;
    const int64_t head_dim = shape_.head_dim;
    const PackedLayout& by_key = packed_layout(queries_.dtype, head_dim, kPiece);
    for (int64_t piece = 0; piece < pieces; ++piece) {
      matmul(by_key, {.a = dense_queries_,
                      .lda = head_dim,
                      .packed = packed_.keys(batch_, kv_head_, key / kPiece + piece),
                      .c = scores_ + piece * kQueryTile * kPiece,
                      .ldc = kPiece,
                      .m = rows_});
    }
    const int64_t visible = shape_.keys - shape_.queries + first_ + 1 - key;  // of the first query
    HWY_DYNAMIC_DISPATCH(softmax_tile)
    (weights_, f32, scores_, o_, m_, l_, rows_, pieces, visible, head_dim,
     shape_.scale * std::numbers::log2e_v<float>);
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
       o_ + row * head_dim, 1.0f / l_[row], head_dim);
      lse[row] = m_[row] * shape_.scale + std::log(l_[row]);
    }
  }

  const Tensor& out_;
  const Tensor& lse_;
  const PackedKeyValues& packed_;
  const AttentionShape& shape_;
  int64_t batch_, head_, kv_head_, first_, rows_;
  HeadRows queries_;
  float* scores_;
  void* dense_queries_;
  void* weights_;
  float *o_, *m_, *l_;
};

}  // namespace

void CpuBackend::attention(const Tensor& out, const Tensor& lse, const Tensor& q, const Tensor& k,
                           const Tensor& v, const AttentionShape& shape) {
  if (!shape.past.empty()) {
    AttentionShape now = shape;
    now.keys = *shape.past.data<int32_t>() + shape.queries;
    now.past = Tensor();
    require(now.keys <= shape.keys, "attention", "more keys than there is room for");
    return attention(out, lse, q, k.rows(0, now.keys), v.rows(0, now.keys), now);
  }
  if (shape.queries <= kFewRows) {
    attention_of_few_queries(out, lse, q, k, v, shape, threads_, *pool_);
    return;
  }
  if (q.dtype() == Dtype::bf16 && !has_bf16_product()) {
    const Tensor wide = allocate(Dtype::f32, q.shape());
    attention(wide, lse, converted(q, Dtype::f32), converted(k, Dtype::f32),
              converted(v, Dtype::f32), shape);
    copy(out, wide);
    return;
  }
  const PackedKeyValues packed(k, v, shape, threads_, *pool_);
  const int64_t tiles = (shape.queries + kQueryTile - 1) / kQueryTile;
  const int64_t heads = shape.batch * shape.heads;
  parallel_tasks(threads_, tiles * heads, [&](int64_t task) {
    const int64_t first = (tiles - 1 - task / heads) * kQueryTile;  // the longest come first
    QueryTile(out, lse, q, packed, shape, task % heads / shape.heads, task % heads % shape.heads,
              first)
        .run();
  });
}

}  // namespace ropesweep::backend::cpu
#endif  // HWY_ONCE
