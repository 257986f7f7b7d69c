// The gradient of the attention bias by distance: a pass of its own over the pairs, cut along the
// diagonals, so that a distance's pairs all belong to one thread of each row and are added up in
// the order of the queries, without atomics.
//
//   d_bias[h, min(e, n − 1)] += Σ dS of pairs at distance e,  dS = P ⊙ (d_out·vᵀ − δ)
//
// A block takes 32 distances of one head and sequence. For 32 queries at a time it has the keys at
// these distances: 63 in a row, of which query row r has, at distance e of the tile, row r + 31 −
// e. Sums by distance, [B, H, distances], are then put into the n numbers of the bias.
//
// Letters: as in attention_tiles.h · B batch · n distances of the bias
#include "worker/backend/cuda/attention_tiles.h"
#include "worker/backend/cuda/cuda_backend.h"

namespace ropesweep::backend::cuda {

namespace {

constexpr int kSpan = 2 * kTile - 1;  ///< keys of 32 queries at 32 distances
constexpr int kCollectThreads = 128;

/// Sums by distance, f32 [B·H, count]; the first is of distance `first`, a multiple of a tile.
struct DistanceSums {
  float* data;
  int64_t first, count;
};

/// Keys first … first + 62 of a sequence of `count` as f32; zeros for those outside.
template <typename T>
__device__ void load_span(float* rows, const T* x, int64_t first, int64_t count,
                          int64_t row_elements, int head_dim) {
  for (int i = static_cast<int>(threadIdx.x); i < kSpan * head_dim; i += kTileThreads) {
    const int row = i / head_dim, column = i % head_dim;
    const int64_t at = first + row;
    rows[row * tile_stride(head_dim) + column] =
        at >= 0 && at < count ? to_float(x[at * row_elements + column]) : 0.0f;
  }
}

/// dots[i] = row · the span's row for this query and distance c + 4i.
__device__ __forceinline__ void dot_diagonals(float (&dots)[kRowKeys], const float* row_of_query,
                                              const float* span, int head_dim, int row, int c) {
  const int stride = tile_stride(head_dim);
  const float* const nearest = span + (row + kTile - 1 - c) * stride;
  ROPESWEEP_UNROLL
  for (int i = 0; i < kRowKeys; ++i) dots[i] = 0;
  for (int n = 0; n < head_dim; ++n) {
    const float x = row_of_query[n];
    ROPESWEEP_UNROLL
    for (int i = 0; i < kRowKeys; ++i) dots[i] += x * nearest[n - kRowThreads * i * stride];
  }
}

/// Grid: tiles of distances · H · B. Shared: q and d_out tiles, a span of keys or values, sums.
template <typename T>
__global__ void __launch_bounds__(kTileThreads)
    distance_sums_kernel(DistanceSums to, const T* d_out, const T* q, const T* k, const T* v,
                         const float* lse, const float* delta, AttentionSizes s) {
  const int stride = tile_stride(s.head_dim);
  float* const q_tile = shared_memory<float>();
  float* const d_out_tile = q_tile + kTile * stride;
  float* const span = d_out_tile + kTile * stride;
  float* const row_sums = span + kSpan * stride;

  const int row = static_cast<int>(threadIdx.x) / kRowThreads;
  const int c = static_cast<int>(threadIdx.x) % kRowThreads;
  const int64_t first = to.first + int64_t{blockIdx.x} * kTile;  // distance
  const int64_t head = blockIdx.y, batch = blockIdx.z;
  const int64_t q_row = s.heads * s.head_dim, kv_row = s.kv_heads * s.head_dim;
  const int64_t q_at = batch * s.queries * q_row + head * s.head_dim;
  const int64_t kv_at = batch * s.keys * kv_row + head / (s.heads / s.kv_heads) * s.head_dim;
  // The queries that have a key at any of the distances.
  const int64_t from = std::max<int64_t>(first - s.band.position, 0) / kTile * kTile;
  const int64_t end = std::min(s.queries, s.band.keys + first + kTile - 1 - s.band.position);

  float sums[kRowKeys] = {};
  for (int64_t query = from; query < end; query += kTile) {
    const int64_t t = query + row, key = s.band.position + t - first;  // at the first distance
    const int64_t span_key = s.band.position + query - first - (kTile - 1);
    __syncthreads();  // the last tiles are done with
    load_tile(q_tile, q + q_at, query, s.queries, q_row, s.head_dim);
    load_tile(d_out_tile, d_out + q_at, query, s.queries, q_row, s.head_dim);
    load_span(span, k + kv_at, span_key, s.keys, kv_row, s.head_dim);
    __syncthreads();
    float weights[kRowKeys], slopes[kRowKeys];
    dot_diagonals(weights, q_tile + row * stride, span, s.head_dim, row, c);
    __syncthreads();
    load_span(span, v + kv_at, span_key, s.keys, kv_row, s.head_dim);
    __syncthreads();
    dot_diagonals(slopes, d_out_tile + row * stride, span, s.head_dim, row, c);
    if (t >= s.queries) continue;  // the row's threads meet the others at the next barrier
    const int64_t statistics = (batch * s.heads + head) * s.queries + t;
    const float row_lse = lse[statistics], row_delta = delta[statistics];
    ROPESWEEP_UNROLL
    for (int i = 0; i < kRowKeys; ++i) {
      const int e = c + kRowThreads * i;
      if (!s.band.sees(t, key - e)) continue;
      const float score = s.scale * weights[i] + s.bias_at(head, first + e);
      sums[i] += expf(score - row_lse) * (slopes[i] - row_delta);
    }
  }
  ROPESWEEP_UNROLL
  for (int i = 0; i < kRowKeys; ++i) row_sums[row * kScoreStride + c + kRowThreads * i] = sums[i];
  __syncthreads();
  if (threadIdx.x >= kTile) return;
  float sum = 0;
  for (int r = 0; r < kTile; ++r) sum += row_sums[r * kScoreStride + threadIdx.x];
  to.data[(batch * s.heads + head) * to.count + first - to.first + threadIdx.x] = sum;
}

/// A warp a number of the bias: all sequences in order, and for the last number all distances.
__global__ void __launch_bounds__(kCollectThreads)
    collect_kernel(float* d_bias, DistanceSums from, int64_t batch, int64_t heads, int64_t n) {
  const int64_t index = (int64_t{blockIdx.x} * kCollectThreads + threadIdx.x) / kWarp;  // h · n + i
  if (index >= heads * n) return;
  const int64_t head = index / n, distance = index % n;
  const int64_t begin = std::max(distance, from.first) - from.first;
  const int64_t end = (distance == n - 1 ? from.count : distance + 1 - from.first);
  float sum = 0;
  for (int64_t b = 0; b < batch; ++b) {
    const float* const sums = from.data + (b * heads + head) * from.count;
    for (int64_t i = begin + threadIdx.x % kWarp; i < end && i < from.count; i += kWarp) {
      sum += sums[i];
    }
  }
  sum = warp_sum(sum);
  if (threadIdx.x % kWarp == 0) d_bias[index] += sum;
}

}  // namespace

void CudaBackend::add_bias_gradient(const Tensor& d_bias, const Tensor& d_out, const Tensor& q,
                                    const Tensor& k, const Tensor& v, const Tensor& lse,
                                    const Tensor& delta, const AttentionShape& shape,
                                    const Tensor& bias) {
  const AttentionSizes sizes = sizes_of(shape, bias);
  const AttentionBand& band = sizes.band;
  // The distances that pairs have.
  const int64_t nearest = std::max<int64_t>({0, band.nearest, band.position - band.keys + 1});
  const int64_t farthest = std::min(band.farthest, band.position + band.queries);
  if (nearest >= farthest) return;
  const int64_t first = nearest / kTile * kTile, tiles = ceil_div(farthest - first, kTile);
  const Tensor sums = allocate(Dtype::f32, {shape.batch * shape.heads, tiles * kTile});
  const DistanceSums by_distance{sums.data<float>(), first, tiles * kTile};
  const dim3 grid(static_cast<unsigned>(tiles), static_cast<unsigned>(shape.heads),
                  static_cast<unsigned>(shape.batch));
  const size_t shared =
      (4 * tile_floats(shape.head_dim) + kTile * kScoreStride) * sizeof(float);  // 63 rows in 64
  with_type(q.dtype(), [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    launch({stream_, grid, kTileThreads, shared}, distance_sums_kernel<T>, by_distance,
           d_out.data<T>(), q.data<T>(), k.data<T>(), v.data<T>(), lse.data<float>(),
           delta.data<float>(), sizes);
  });
  launch({stream_, blocks_for(d_bias.elements() * kWarp, kCollectThreads), kCollectThreads},
         collect_kernel, d_bias.data<float>(), by_distance, shape.batch, shape.heads,
         d_bias.dim(1));
}

}  // namespace ropesweep::backend::cuda
