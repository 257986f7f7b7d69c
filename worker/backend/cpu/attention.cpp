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
#include "worker/backend/cpu/attention_softmax.h"
#include "worker/backend/cpu/cpu_backend.h"
#include "worker/backend/cpu/parallel.h"

namespace ropesweep::backend::cpu {

namespace {

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
    softmax_tile(weights_, f32, scores_, o_, m_, l_, rows_, pieces, seen, head_dim,
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
      finish_row(const_cast<std::byte*>(to.row(first_ + row)), out_.dtype() == Dtype::f32,
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
  if (!shape.past.empty()) {
    AttentionShape now = shape;
    now.keys = *shape.past.data<int32_t>() + shape.queries;
    now.past = Tensor();
    require(now.keys <= shape.keys, "attention", "more keys than there is room for");
    return attention(out, lse, q, k.rows(0, now.keys), v.rows(0, now.keys), now, bias);
  }
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
