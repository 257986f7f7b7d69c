// What attention's forward and backward share: the cut of queries and keys into pieces of 128, and
// the packing of one head's rows for products.
//
// Letters: B batch · T queries · S keys · H query heads · G key-value heads · K head dimension.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "worker/backend/attention_band.h"
#include "worker/backend/cpu/cpu_backend.h"
#include "worker/backend/cpu/matmul.h"

namespace ropesweep::backend::cpu {

/// Queries or keys of a piece. Pieces begin at multiples of it and the last one is padded with
/// zeros, so that what is computed for a query doesn't depend on how many follow.
constexpr int64_t kPiece = 128;

/// Queries of a task of the forward pass.
constexpr int64_t kQueryTile = 128;

inline int64_t pieces_of(int64_t rows) { return (rows + kPiece - 1) / kPiece; }

/// What the rows of a tile of queries × keys see: row i the keys first + i … end + i − 1 of the
/// tile, but none outside 0 … keys − 1.
struct SeenKeys {
  int64_t first, end, keys;
};

/// What sees the rows of a tile of keys × queries: row i the queries first + i … end + i − 1 of the
/// tile, but none outside 0 … queries − 1, and none the rows from `keys` on.
struct SeenQueries {
  int64_t first, end, queries, keys;

  int64_t from(int64_t row) const { return std::clamp<int64_t>(first + row, 0, queries); }
  int64_t to(int64_t row) const {
    return row < keys ? std::clamp(end + row, from(row), queries) : from(row);
  }
};

/// Rows of one head within [rows, heads, K]: row i begins at data + i·stride elements.
struct HeadRows {
  const std::byte* data;
  int64_t stride;  ///< heads · K
  int64_t rows;
  Dtype dtype;

  const std::byte* row(int64_t i) const {
    return data + static_cast<size_t>(i * stride) * size_of(dtype);
  }
};

/// The rows of sequence `batch` and of head `head` in x [B·rows, heads, K].
inline HeadRows head_rows(const Tensor& x, int64_t batch, int64_t rows, int64_t head) {
  const int64_t stride = x.dim(1) * x.dim(2);
  const int64_t element = batch * rows * stride + head * x.dim(2);
  return {x.data<std::byte>() + static_cast<size_t>(element) * size_of(x.dtype()), stride, rows,
          x.dtype()};
}

/// Packs piece `piece` of the rows as B [K, kPiece] when `transposed` (columns are rows of x), else
/// as B [kPiece, K]; rows past the end count as zeros.
inline void pack_piece(void* packed, const HeadRows& x, int64_t piece, int64_t head_dim,
                       bool transposed) {
  const int64_t first = piece * kPiece, count = std::min(kPiece, x.rows - first);
  const PackedLayout& layout = transposed ? packed_layout(x.dtype, head_dim, kPiece)
                                          : packed_layout(x.dtype, kPiece, head_dim);
  if (count == kPiece) {
    layout.pack(packed, x.row(first), x.stride, transposed);
    return;
  }
  const size_t row_bytes = static_cast<size_t>(head_dim) * size_of(x.dtype);
  auto* padded = static_cast<std::byte*>(thread_scratch(Slot::tile_b, row_bytes * kPiece));
  std::memset(padded, 0, row_bytes * kPiece);
  for (int64_t i = 0; i < count; ++i) {
    std::memcpy(padded + static_cast<size_t>(i) * row_bytes, x.row(first + i), row_bytes);
  }
  layout.pack(packed, padded, head_dim, transposed);
}

/// Attention of few queries, T ≤ kFewRows: operands as Backend::attention has them. A query's
/// bits are its own, whatever T is, but differ from those of the blocked form.
void attention_of_few_queries(const Tensor& out, const Tensor& lse, const Tensor& q,
                              const Tensor& k, const Tensor& v, const AttentionShape& shape,
                              const Tensor& bias, int threads, MemoryPool& pool);

}  // namespace ropesweep::backend::cpu
