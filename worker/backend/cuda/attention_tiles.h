// What the attention kernels of our own share: a tile is 32 queries by 32 keys, a block has 128
// threads, four to a row of the tile; thread c of a row has every fourth column, from c on.
//
// Letters: T queries of a sequence · S keys · H heads · G key-value heads · K head dimension
#pragma once

#include "worker/backend/attention_band.h"
#include "worker/backend/cuda/launch.h"
#include "worker/backend/ops.h"

namespace ropesweep::backend::cuda {

constexpr int kTile = 32;       ///< queries, and keys, of a tile
constexpr int kRowThreads = 4;  ///< threads of a row
constexpr int kTileThreads = kTile * kRowThreads;
constexpr int kScoreStride = kTile + 1;

struct AttentionSizes {
  int64_t queries, keys, heads, kv_heads;
  int head_dim;
  float scale;
  AttentionBand band;  ///< where there is a past, its keys are the room
  const float* bias;   ///< f32 [H, distances]; null: none
  int64_t distances;
  const int32_t* past;  ///< of AttentionShape; null where `keys` holds

  /// Of a pair, where there is a bias.
  __device__ __forceinline__ float bias_at(int64_t head, int64_t distance) const {
    if (distance < 0) return 0.0f;
    return bias[head * distances + (distance < distances ? distance : distances - 1)];
  }
};

inline AttentionSizes sizes_of(const AttentionShape& s, const Tensor& bias) {
  return {s.queries,
          s.keys,
          s.heads,
          s.kv_heads,
          static_cast<int>(s.head_dim),
          s.scale,
          band_of(s),
          bias.data<float>(),
          bias.empty() ? 0 : bias.dim(1),
          s.past.data<int32_t>()};
}

/// Floats of one tile in shared memory: rows a bank apart.
__host__ __device__ constexpr int tile_stride(int head_dim) { return head_dim + 1; }
constexpr size_t tile_floats(int64_t head_dim) {
  return static_cast<size_t>(kTile) * static_cast<size_t>(tile_stride(static_cast<int>(head_dim)));
}

/// A block's tile of queries in a grid of tiles · H · B, and what its threads are in it.
struct QueryTile {
  int row, c;             ///< this thread's row of the tile, and its number among the row's
  int64_t first, t;       ///< the tile's first query; this row's
  int64_t head, batch;    ///< of queries
  int64_t q_row, kv_row;  ///< elements from a token's row to the next
  int64_t q_at, kv_at;    ///< where the head begins, and its key-value head
  int64_t begin, end;     ///< keys that the tile's queries see, from a tile's first one on

  __device__ __forceinline__ explicit QueryTile(const AttentionSizes& s)
      : row(static_cast<int>(threadIdx.x) / kRowThreads),
        c(static_cast<int>(threadIdx.x) % kRowThreads),
        // The last tiles see the most keys and come first.
        first(int64_t{gridDim.x - 1 - blockIdx.x} * kTile),
        t(first + row),
        head(blockIdx.y),
        batch(blockIdx.z),
        q_row(s.heads * s.head_dim),
        kv_row(s.kv_heads * s.head_dim),
        q_at(batch * s.queries * q_row + head * s.head_dim),
        kv_at(batch * s.keys * kv_row + head / (s.heads / s.kv_heads) * s.head_dim),
        begin(s.band.first_key(first) / kTile * kTile),
        end(s.band.end_key((first + kTile < s.queries ? first + kTile : s.queries) - 1)) {}
};

/// Whether each pair of the tile of queries from `first` and of keys from `key` is seen: no mask.
__device__ __forceinline__ bool sees_tile(const AttentionSizes& s, int64_t first, int64_t key) {
  return s.band.sees_all(first, first + kTile, key, key + kTile);
}

/// Calls `body` with the columns that a thread of a row has at most: K/4 rounded up to 8, 16, 32 or
/// 64.
template <typename Body>
void with_columns(int64_t head_dim, Body body) {
  if (head_dim <= 32) return body(std::integral_constant<int, 8>());
  if (head_dim <= 64) return body(std::integral_constant<int, 16>());
  if (head_dim <= 128) return body(std::integral_constant<int, 32>());
  body(std::integral_constant<int, 64>());
}

/// Rows first … first + 31 of a sequence of `count` into shared memory as f32; zeros past the end.
/// Row i of the sequence begins at x + i · row_elements.
template <typename T>
__device__ void load_tile(float* tile, const T* x, int64_t first, int64_t count,
                          int64_t row_elements, int head_dim) {
  for (int i = static_cast<int>(threadIdx.x); i < kTile * head_dim; i += kTileThreads) {
    const int row = i / head_dim, column = i % head_dim;
    const int64_t at = first + row;
    tile[row * tile_stride(head_dim) + column] =
        at < count ? to_float(x[at * row_elements + column]) : 0.0f;
  }
}

/// Keys of a tile that a thread of a row has: c, c + 4, c + 8 …
constexpr int kRowKeys = kTile / kRowThreads;

/// dots[i] = row · tile[c + 4i]: each element of the row is read once for all.
__device__ __forceinline__ void dot_rows(float (&dots)[kRowKeys], const float* row,
                                         const float* tile, int head_dim, int c) {
  const int stride = tile_stride(head_dim);
  ROPESWEEP_UNROLL
  for (int i = 0; i < kRowKeys; ++i) dots[i] = 0;
  for (int n = 0; n < head_dim; ++n) {
    const float x = row[n];
    ROPESWEEP_UNROLL
    for (int i = 0; i < kRowKeys; ++i) dots[i] += x * tile[(c + kRowThreads * i) * stride + n];
  }
}

/// Over the four threads of a row.
__device__ __forceinline__ float row_max(float x) {
  for (int offset = 1; offset < kRowThreads; offset *= 2) {
    const float other = __shfl_xor_sync(kAllLanes, x, offset);
    x = other > x ? other : x;
  }
  return x;
}
__device__ __forceinline__ float row_sum(float x) {
  for (int offset = 1; offset < kRowThreads; offset *= 2) {
    x += __shfl_xor_sync(kAllLanes, x, offset);
  }
  return x;
}

/// sums[i] += Σ_j weights[j] · tile[j][c + 4i] over the tile's 32 rows.
template <int kColumns>
__device__ __forceinline__ void add_weighted_rows(float (&sums)[kColumns], const float* weights,
                                                  int weight_stride, const float* tile,
                                                  int head_dim, int c) {
  for (int j = 0; j < kTile; ++j) {
    const float weight = weights[j * weight_stride];
    const float* row = tile + j * tile_stride(head_dim);
    ROPESWEEP_UNROLL
    for (int i = 0; i < kColumns; ++i) {
      const int column = c + kRowThreads * i;
      if (column < head_dim) sums[i] += weight * row[column];
    }
  }
}

template <int kColumns, typename T>
__device__ __forceinline__ void store_columns(T* to, const float (&values)[kColumns], float factor,
                                              int head_dim, int c) {
  ROPESWEEP_UNROLL
  for (int i = 0; i < kColumns; ++i) {
    const int column = c + kRowThreads * i;
    if (column < head_dim) from_float(values[i] * factor, to[column]);
  }
}

}  // namespace ropesweep::backend::cuda
