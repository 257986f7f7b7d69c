// The gradient of attention in blocks (Dao 2023, FlashAttention-2, algorithm 2).
//
// Letters: B batch · T queries · S keys · H query heads · G key-value heads · K head dimension.
// With Sᵀ = K·Qᵀ, Pᵀ = 2^(Sᵀ·scale − lse), dPᵀ = V·dOᵀ, δ = rowsum(dO ∘ O) and dSᵀ = Pᵀ ∘ (dPᵀ −
// δ):
//   dV = Pᵀ·dO,   dK = scale · dSᵀ·Q,   dQ = scale · dS·K
// A task is a query head's share of the keys (every kParts-th piece). It alone adds to its dK and
// dV and to its own partial dQ; the partial sums are added afterwards in a fixed order. All sums
// are f32.
#include <numbers>

#include "worker/backend/cpu/attention_bias.h"
#include "worker/backend/cpu/attention_blocks.h"
#include "worker/backend/cpu/attention_slopes.h"
#include "worker/backend/cpu/cpu_backend.h"
#include "worker/backend/cpu/parallel.h"

namespace ropesweep::backend::cpu {

namespace {

/// Shares of a head's keys, so that few heads keep more cores busy. A constant: it sets the order
/// of sums.
constexpr int64_t kParts = 2;

/// The operands of one call, and what was prepared of them for all tasks.
struct Problem {
  const Tensor &d_out, &q, &k, &v, &out, &lse;
  const Tensor& bias;
  AttentionShape shape;
  AttentionBand band;
  Dtype dtype;
  int64_t query_pieces, key_pieces, group;
  size_t by_row_bytes, by_column_bytes;  ///< of a packed [kPiece, K], and [K, kPiece]

  std::shared_ptr<void> packed_queries;  ///< by (b, h, piece): Qᵀ, dOᵀ, Q, dO
  std::shared_ptr<void> packed_keys;     ///< by (b, g, piece): K
  Tensor statistics;     ///< f32 [B, H, pieces, 2, kPiece]: lse in units of log 2, δ
  Tensor d_q, d_k, d_v;  ///< f32 [kParts, B·H, T up to whole pieces, K]; [B·H, S, K] twice
  Tensor d_bias;         ///< f32 [kParts, B·H, n]; empty when not wanted

  std::byte* queries(int64_t head, int64_t piece) const {
    return static_cast<std::byte*>(packed_queries.get()) +
           static_cast<size_t>(head * query_pieces + piece) * 2 * (by_row_bytes + by_column_bytes);
  }
  std::byte* keys(int64_t kv_head, int64_t piece) const {
    return static_cast<std::byte*>(packed_keys.get()) +
           static_cast<size_t>(kv_head * key_pieces + piece) * by_row_bytes;
  }
  float* statistic(int64_t head, int64_t piece) const {
    return statistics.data<float>() + (head * query_pieces + piece) * 2 * kPiece;
  }
};

/// Packs one piece of queries of head `head` = b·H + h, and works out its statistics.
void prepare_queries(const Problem& x, int64_t head, int64_t piece) {
  const AttentionShape& s = x.shape;
  const int64_t batch = head / s.heads, within = head % s.heads;
  const HeadRows q = head_rows(x.q, batch, s.queries, within);
  const HeadRows d_out = head_rows(x.d_out, batch, s.queries, within);
  const HeadRows out = head_rows(x.out, batch, s.queries, within);
  std::byte* to = x.queries(head, piece);
  pack_piece(to, q, piece, s.head_dim, true);
  pack_piece(to + x.by_column_bytes, d_out, piece, s.head_dim, true);
  pack_piece(to + 2 * x.by_column_bytes, q, piece, s.head_dim, false);
  pack_piece(to + 2 * x.by_column_bytes + x.by_row_bytes, d_out, piece, s.head_dim, false);

  float* const lse = x.statistic(head, piece);
  float* const delta = lse + kPiece;
  const int64_t first = piece * kPiece, count = std::min(kPiece, s.queries - first);
  const float* const natural = x.lse.data<float>() + head * s.queries + first;
  for (int64_t i = 0; i < count; ++i) {
    lse[i] = natural[i] * std::numbers::log2e_v<float>;
    delta[i] = dot_of(d_out.row(first + i), out.row(first + i), x.dtype == Dtype::f32, s.head_dim);
  }
}

/// All tiles of a head's keys `piece`: dK and dV whole, dQ added to the partial sum `part`.
class KeyPiece {
 public:
  KeyPiece(const Problem& x, int64_t head, int64_t piece, int64_t part)
      : x_(x),
        head_(head),
        piece_(piece),
        first_key_(piece * kPiece),
        key_count_(std::min(kPiece, x.shape.keys - first_key_)),
        kv_head_(head / x.shape.heads * x.shape.kv_heads + head % x.shape.heads / x.group),
        bias_(bias_of_head(x.bias, head % x.shape.heads)),
        keys_(head_rows(x.k, head / x.shape.heads, x.shape.keys, head % x.shape.heads / x.group)),
        values_(head_rows(x.v, head / x.shape.heads, x.shape.keys, head % x.shape.heads / x.group)),
        dense_keys_(static_cast<std::byte*>(thread_scratch(
            Slot::queries, 2 * static_cast<size_t>(kPiece * x.shape.head_dim) * size_of(x.dtype)))),
        scores_(static_cast<float*>(thread_scratch(Slot::scores, 2 * kTile * sizeof(float)))),
        d_weights_(scores_ + kTile),
        weights_(static_cast<std::byte*>(
            thread_scratch(Slot::probabilities, 2 * kTile * sizeof(float)))),
        slopes_(weights_ + kTile * size_of(x.dtype)),
        d_q_(x.d_q.data<float>() + (part * x.shape.batch * x.shape.heads + head) * x.query_pieces *
                                       kPiece * x.shape.head_dim),
        d_k_(x.d_k.data<float>() + (head * x.shape.keys + first_key_) * x.shape.head_dim),
        d_v_(x.d_v.data<float>() + (head * x.shape.keys + first_key_) * x.shape.head_dim) {
    if (!x.d_bias.empty()) {
      d_bias_ =
          x.d_bias.data<float>() + (part * x.shape.batch * x.shape.heads + head) * bias_.count;
    }
  }

  void run() {
    const int64_t head_dim = x_.shape.head_dim;
    copy_dense(dense_keys_, keys_);
    copy_dense(dense_values(), values_);
    std::fill_n(d_k_, key_count_ * head_dim, 0.0f);
    std::fill_n(d_v_, key_count_ * head_dim, 0.0f);
    const int64_t keys = std::min(key_count_, x_.band.keys - first_key_);  // that any query sees
    if (keys <= 0) return;
    const int64_t from = x_.band.first_query(first_key_);
    const int64_t to = x_.band.end_query(first_key_ + keys - 1);
    for (int64_t tile = from / kPiece; from < to && tile < pieces_of(to); ++tile) add_tile(tile);
  }

 private:
  static constexpr size_t kTile = kPiece * kPiece;

  std::byte* dense_values() const {
    return dense_keys_ + static_cast<size_t>(kPiece * x_.shape.head_dim) * size_of(x_.dtype);
  }

  void copy_dense(std::byte* to, const HeadRows& rows) const {
    const size_t row_bytes = static_cast<size_t>(x_.shape.head_dim) * size_of(x_.dtype);
    for (int64_t i = 0; i < key_count_; ++i) {
      std::memcpy(to + static_cast<size_t>(i) * row_bytes, rows.row(first_key_ + i), row_bytes);
    }
  }

  void add_tile(int64_t tile) {
    const int64_t head_dim = x_.shape.head_dim, first = tile * kPiece;
    const std::byte* packed = x_.queries(head_, tile);
    const PackedLayout& by_column = packed_layout(x_.dtype, head_dim, kPiece);
    const PackedLayout& by_row = packed_layout(x_.dtype, kPiece, head_dim);
    const auto against_columns = [&](const std::byte* rows, const std::byte* b, float* c) {
      matmul(by_column,
             {.a = rows, .lda = head_dim, .packed = b, .c = c, .ldc = kPiece, .m = key_count_});
    };
    against_columns(dense_keys_, packed, scores_);
    against_columns(dense_values(), packed + x_.by_column_bytes, d_weights_);

    const float* lse = x_.statistic(head_, tile);
    const int64_t distance = x_.band.distance(first, first_key_);  // of the first pair
    const SeenQueries seen{x_.band.nearest - distance, x_.band.farthest - distance,
                           std::min(kPiece, x_.shape.queries - first), x_.band.keys - first_key_};
    float unit = x_.shape.scale;
    if (bias_.count > 0) {
      add_bias(scores_, key_count_, kPiece, distance, 1, unit, bias_);
      unit = 1;
    }
    if (d_bias_ != nullptr) {
      add_bias_gradient(d_bias_, bias_.count,
                        {scores_, d_weights_, lse, lse + kPiece, seen, key_count_, distance});
    }
    weights_and_slopes(weights_, slopes_, x_.dtype == Dtype::f32, scores_, d_weights_, lse,
                       lse + kPiece, key_count_, seen, unit * std::numbers::log2e_v<float>);

    const auto add_rows = [&](const std::byte* a, const std::byte* b, float* c) {
      matmul(by_row, {.a = a,
                      .lda = kPiece,
                      .packed = b,
                      .c = c,
                      .ldc = head_dim,
                      .accumulate = true,
                      .m = key_count_});
    };
    add_rows(weights_, packed + 2 * x_.by_column_bytes + x_.by_row_bytes, d_v_);
    add_rows(slopes_, packed + 2 * x_.by_column_bytes, d_k_);
    // Keys past the end: their rows of slopes must not be left over from another tile.
    std::memset(slopes_ + static_cast<size_t>(key_count_ * kPiece) * size_of(x_.dtype), 0,
                static_cast<size_t>((kPiece - key_count_) * kPiece) * size_of(x_.dtype));
    matmul(by_row, {.a = slopes_,
                    .lda = kPiece,
                    .a_transposed = true,
                    .packed = x_.keys(kv_head_, piece_),
                    .c = d_q_ + first * head_dim,
                    .ldc = head_dim,
                    .accumulate = true,
                    .m = kPiece});
  }

  const Problem& x_;
  int64_t head_, piece_, first_key_, key_count_, kv_head_;
  HeadBias bias_;
  HeadRows keys_, values_;
  std::byte* dense_keys_;  ///< keys, then values
  float *scores_, *d_weights_;
  std::byte *weights_, *slopes_;
  float *d_q_, *d_k_, *d_v_;
  float* d_bias_ = nullptr;
};

void prepare(const Problem& x, int threads) {
  const AttentionShape& s = x.shape;
  const int64_t heads = s.batch * s.heads, kv_heads = s.batch * s.kv_heads;
  parallel_tasks(threads, heads * x.query_pieces, [&](int64_t task) {
    prepare_queries(x, task / x.query_pieces, task % x.query_pieces);
  });
  parallel_tasks(threads, kv_heads * x.key_pieces, [&](int64_t task) {
    const int64_t head = task / x.key_pieces, piece = task % x.key_pieces;
    pack_piece(x.keys(head, piece), head_rows(x.k, head / s.kv_heads, s.keys, head % s.kv_heads),
               piece, s.head_dim, false);
  });
}

void add_all_tiles(const Problem& x, int threads) {
  const int64_t heads = x.shape.batch * x.shape.heads;
  const int64_t head_elements = x.query_pieces * kPiece * x.shape.head_dim;
  parallel_tasks(threads, heads * kParts, [&](int64_t task) {
    const int64_t head = task / kParts, part = task % kParts;
    std::fill_n(x.d_q.data<float>() + (part * heads + head) * head_elements, head_elements, 0.0f);
    if (!x.d_bias.empty()) {
      const int64_t n = x.d_bias.dim(2);
      std::fill_n(x.d_bias.data<float>() + (part * heads + head) * n, n, 0.0f);
    }
    for (int64_t piece = part; piece < x.key_pieces; piece += kParts) {
      KeyPiece(x, head, piece, part).run();
    }
  });
}

/// to[b·rows + i, h, :] = factor · the sum of `count` partial sums [rows, K], `stride` elements
/// apart, the first of which for (b, h) begins at row (b·heads + h)·`spacing` of parts.
void collect(const Tensor& to, const Tensor& parts, int64_t batch, int64_t rows, int64_t spacing,
             int64_t count, int64_t stride, float factor, int threads) {
  const int64_t heads = to.dim(1), head_dim = to.dim(2);
  parallel_ranges(threads, batch * rows, 16, [&](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) {
      const int64_t b = row / rows, i = row % rows;
      for (int64_t head = 0; head < heads; ++head) {
        const int64_t from = ((b * heads + head) * spacing + i) * head_dim;
        sum_parts(to.data<std::byte>() +
                      static_cast<size_t>((row * heads + head) * head_dim) * size_of(to.dtype()),
                  to.dtype() == Dtype::f32, parts.data<float>() + from, stride, count, head_dim,
                  factor);
      }
    }
  });
}

/// to f32 [H, n] += the tasks' sums, in the order of parts and sequences.
void collect_bias(const Tensor& to, const Tensor& parts, int64_t batch, int threads) {
  const int64_t heads = to.dim(0), n = to.dim(1);
  parallel_tasks(threads, heads, [&](int64_t head) {
    float* const sums = to.data<float>() + head * n;
    for (int64_t part = 0; part < kParts * batch; ++part) {
      const float* const from = parts.data<float>() + (part * heads + head) * n;
      for (int64_t i = 0; i < n; ++i) sums[i] += from[i];
    }
  });
}

}  // namespace

void CpuBackend::attention_backward(const Tensor& d_q, const Tensor& d_k, const Tensor& d_v,
                                    const Tensor& d_out, const Tensor& q, const Tensor& k,
                                    const Tensor& v, const Tensor& out, const Tensor& lse,
                                    const AttentionShape& shape, const Tensor& bias,
                                    const Tensor& d_bias) {
  const Dtype dtype = q.dtype();
  if (dtype == Dtype::bf16 && !has_bf16_product()) {
    const auto wide = [&](const Tensor& x) { return converted(x, Dtype::f32); };
    const Tensor wide_q = allocate(Dtype::f32, q.shape()), wide_k = allocate(Dtype::f32, k.shape());
    const Tensor wide_v = allocate(Dtype::f32, v.shape());
    attention_backward(wide_q, wide_k, wide_v, wide(d_out), wide(q), wide(k), wide(v), wide(out),
                       lse, shape, bias, d_bias);
    copy(d_q, wide_q);
    copy(d_k, wide_k);
    copy(d_v, wide_v);
    return;
  }
  const int64_t heads = shape.batch * shape.heads, head_dim = shape.head_dim;
  const int64_t query_pieces = pieces_of(shape.queries), key_pieces = pieces_of(shape.keys);
  const size_t by_row = packed_layout(dtype, kPiece, head_dim).bytes();
  const size_t by_column = packed_layout(dtype, head_dim, kPiece).bytes();
  const auto queries = static_cast<size_t>(heads * query_pieces);
  const auto keys = static_cast<size_t>(shape.batch * shape.kv_heads * key_pieces);
  const Problem problem{
      d_out,
      q,
      k,
      v,
      out,
      lse,
      bias,
      shape,
      band_of(shape),
      dtype,
      query_pieces,
      key_pieces,
      shape.heads / shape.kv_heads,
      by_row,
      by_column,
      pool_->allocate(queries * 2 * (by_row + by_column)),
      pool_->allocate(keys * by_row),
      allocate(Dtype::f32, {heads, query_pieces, 2, kPiece}),
      allocate(Dtype::f32, {kParts, heads, query_pieces * kPiece, head_dim}),
      allocate(Dtype::f32, {heads, shape.keys, head_dim}),
      allocate(Dtype::f32, {heads, shape.keys, head_dim}),
      d_bias.empty() ? Tensor() : allocate(Dtype::f32, {kParts, heads, d_bias.dim(1)})};
  prepare(problem, threads_);
  add_all_tiles(problem, threads_);
  const int64_t key_elements = shape.keys * head_dim;
  const int64_t padded = query_pieces * kPiece, group = problem.group,
                keys_of_group = group * shape.keys;
  collect(d_q, problem.d_q, shape.batch, shape.queries, padded, kParts, heads * padded * head_dim,
          shape.scale, threads_);
  collect(d_k, problem.d_k, shape.batch, shape.keys, keys_of_group, group, key_elements,
          shape.scale, threads_);
  collect(d_v, problem.d_v, shape.batch, shape.keys, keys_of_group, group, key_elements, 1.0f,
          threads_);
  if (!d_bias.empty()) collect_bias(d_bias, problem.d_bias, shape.batch, threads_);
}

}  // namespace ropesweep::backend::cpu
