// The gradient of attention (Dao 2023, FlashAttention-2, algorithm 2), scores computed again
// from q, k and the saved log-sum-exp. Two kernels, so that nothing is added by atomics: one walks
// over the keys for a tile of queries (d_q), the other over the queries for a tile of keys (d_k,
// d_v), all query heads of a key-value head in order.
//
//   P = exp(scale · q·k + bias − lse),  δ = Σ d_out ⊙ out,  dS = P ⊙ (d_out·vᵀ − δ) · scale
//   d_v = Pᵀ d_out,  d_k = dSᵀ q,  d_q = dS k
//
// Letters: as in attention_tiles.h · B batch
#include "worker/backend/cuda/attention_tiles.h"
#include "worker/backend/cuda/cuda_backend.h"

namespace ropesweep::backend::cuda {

namespace {

constexpr int kDeltaThreads = 128;

/// delta[b, h, t] = Σ d_out ⊙ out; a warp a row of a head.
template <typename T>
__global__ void __launch_bounds__(kDeltaThreads)
    delta_kernel(float* delta, const T* d_out, const T* out, int64_t rows, AttentionSizes s) {
  const int64_t index =
      (int64_t{blockIdx.x} * kDeltaThreads + threadIdx.x) / kWarp;  // row · H + head
  const bool inside = index < rows * s.heads;
  float sum = 0;
  if (inside) {
    for (int i = static_cast<int>(threadIdx.x % kWarp); i < s.head_dim; i += kWarp) {
      const int64_t at = index * s.head_dim + i;
      sum += to_float(d_out[at]) * to_float(out[at]);
    }
  }
  sum = warp_sum(sum);
  if (!inside || threadIdx.x % kWarp != 0) return;
  const int64_t row = index / s.heads, head = index % s.heads;
  delta[(row / s.queries * s.heads + head) * s.queries + row % s.queries] = sum;
}

/// The tiles in shared memory of both kernels.
struct Tiles {
  float *q, *d_out, *k, *v, *slopes, *weights;
  __device__ explicit Tiles(int head_dim) {
    const int floats = kTile * tile_stride(head_dim);
    q = shared_memory<float>();
    d_out = q + floats;
    k = d_out + floats;
    v = k + floats;
    slopes = v + floats;
    weights = slopes + kTile * kScoreStride;
  }
};

size_t shared_bytes(int64_t head_dim) {
  return (4 * tile_floats(head_dim) + 2 * kTile * kScoreStride) * sizeof(float);
}

/// Weights and slopes of query row `row` and the thread's keys of the tiles. `distance`: of that
/// query from the tile's first key.
struct Slopes {
  float weights[kRowKeys], slopes[kRowKeys];
  __device__ __forceinline__ Slopes(const Tiles& tiles, int row, int c, float lse, float delta,
                                    const AttentionSizes& s, int64_t head, int64_t distance) {
    const int stride = tile_stride(s.head_dim);
    dot_rows(weights, tiles.q + row * stride, tiles.k, s.head_dim, c);
    dot_rows(slopes, tiles.d_out + row * stride, tiles.v, s.head_dim, c);
    ROPESWEEP_UNROLL
    for (int i = 0; i < kRowKeys; ++i) {
      if (s.bias != nullptr) {
        const float bias = s.bias_at(head, distance - c - kRowThreads * i);
        weights[i] = expf(s.scale * weights[i] + bias - lse);
      } else {
        weights[i] = expf(s.scale * weights[i] - lse);
      }
      slopes[i] = weights[i] * (slopes[i] - delta) * s.scale;
    }
  }
};

/// Grid: tiles of queries · H · B.
template <typename T, int kColumns>
__global__ void __launch_bounds__(kTileThreads)
    d_query_kernel(T* d_q, const T* d_out, const T* q, const T* k, const T* v, const float* lse,
                   const float* delta, AttentionSizes s) {
  const Tiles tiles(s.head_dim);
  const auto [row, c, first, t, head, batch, q_row, kv_row, q_at, kv_at, begin, end] = QueryTile(s);
  const int64_t first_key = s.band.first_key(t), end_key = s.band.end_key(t);  // of this row
  const int64_t statistics = (batch * s.heads + head) * s.queries + t;
  const float row_lse = t < s.queries ? lse[statistics] : 0.0f;
  const float row_delta = t < s.queries ? delta[statistics] : 0.0f;

  load_tile(tiles.q, q + q_at, first, s.queries, q_row, s.head_dim);
  load_tile(tiles.d_out, d_out + q_at, first, s.queries, q_row, s.head_dim);
  float sums[kColumns] = {};
  for (int64_t key = begin; key < end; key += kTile) {
    __syncthreads();
    load_tile(tiles.k, k + kv_at, key, s.keys, kv_row, s.head_dim);
    load_tile(tiles.v, v + kv_at, key, s.keys, kv_row, s.head_dim);
    __syncthreads();
    const Slopes found(tiles, row, c, row_lse, row_delta, s, head, s.band.distance(t, key));
    const bool whole = sees_tile(s, first, key);
    ROPESWEEP_UNROLL
    for (int i = 0; i < kRowKeys; ++i) {
      const int j = c + kRowThreads * i;
      const bool seen = whole || (t < s.queries && key + j >= first_key && key + j < end_key);
      tiles.slopes[row * kScoreStride + j] = seen ? found.slopes[i] : 0.0f;
    }
    __syncwarp();  // a row's threads are of one warp
    add_weighted_rows(sums, tiles.slopes + row * kScoreStride, 1, tiles.k, s.head_dim, c);
  }
  if (t < s.queries) store_columns(d_q + q_at + t * q_row, sums, 1.0f, s.head_dim, c);
}

/// Grid: tiles of keys · G · B.
template <typename T, int kColumns>
__global__ void __launch_bounds__(kTileThreads)
    d_key_value_kernel(T* d_k, T* d_v, const T* d_out, const T* q, const T* k, const T* v,
                       const float* lse, const float* delta, AttentionSizes s) {
  const Tiles tiles(s.head_dim);
  const int row = static_cast<int>(threadIdx.x) / kRowThreads;  // of keys
  const int c = static_cast<int>(threadIdx.x) % kRowThreads;
  const int64_t first = int64_t{blockIdx.x} * kTile, key = first + row;
  const int64_t kv_head = blockIdx.y, batch = blockIdx.z, group = s.heads / s.kv_heads;
  const int64_t q_row = s.heads * s.head_dim, kv_row = s.kv_heads * s.head_dim;
  const int64_t kv_at = batch * s.keys * kv_row + kv_head * s.head_dim;
  // The queries that see any key of the tile.
  const int64_t keys = first + kTile < s.band.keys ? first + kTile : s.band.keys;
  const int64_t from = s.band.first_query(first) / kTile * kTile;
  const int64_t to = first < keys ? s.band.end_query(keys - 1) : 0;

  load_tile(tiles.k, k + kv_at, first, s.keys, kv_row, s.head_dim);
  load_tile(tiles.v, v + kv_at, first, s.keys, kv_row, s.head_dim);
  float d_key[kColumns] = {}, d_value[kColumns] = {};
  for (int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
    const int64_t q_at = batch * s.queries * q_row + head * s.head_dim;
    for (int64_t query = from; query < to; query += kTile) {
      __syncthreads();
      load_tile(tiles.q, q + q_at, query, s.queries, q_row, s.head_dim);
      load_tile(tiles.d_out, d_out + q_at, query, s.queries, q_row, s.head_dim);
      __syncthreads();
      // Here `row` is a row of queries.
      const int64_t t = query + row;
      const int64_t statistics = (batch * s.heads + head) * s.queries + t;
      const float row_lse = t < s.queries ? lse[statistics] : 0.0f;
      const float row_delta = t < s.queries ? delta[statistics] : 0.0f;
      const int64_t first_key = s.band.first_key(t), end_key = s.band.end_key(t);
      const bool whole = sees_tile(s, query, first);
      const Slopes found(tiles, row, c, row_lse, row_delta, s, head, s.band.distance(t, first));
      ROPESWEEP_UNROLL
      for (int i = 0; i < kRowKeys; ++i) {
        const int j = c + kRowThreads * i;
        const bool seen = whole || (t < s.queries && first + j >= first_key && first + j < end_key);
        tiles.weights[row * kScoreStride + j] = seen ? found.weights[i] : 0.0f;
        tiles.slopes[row * kScoreStride + j] = seen ? found.slopes[i] : 0.0f;
      }
      __syncthreads();  // columns of the tile are read across its rows
      add_weighted_rows(d_value, tiles.weights + row, kScoreStride, tiles.d_out, s.head_dim, c);
      add_weighted_rows(d_key, tiles.slopes + row, kScoreStride, tiles.q, s.head_dim, c);
    }
  }
  if (key >= s.keys) return;
  store_columns(d_k + kv_at + key * kv_row, d_key, 1.0f, s.head_dim, c);
  store_columns(d_v + kv_at + key * kv_row, d_value, 1.0f, s.head_dim, c);
}

}  // namespace

void CudaBackend::attention_backward(const Tensor& d_q, const Tensor& d_k, const Tensor& d_v,
                                     const Tensor& d_out, const Tensor& q, const Tensor& k,
                                     const Tensor& v, const Tensor& out, const Tensor& lse,
                                     const AttentionShape& shape, const Tensor& bias,
                                     const Tensor& d_bias) {
  if (fused_attention_ && bias.empty() &&
      fused_attention_->backward(d_q, d_k, d_v, d_out, q, k, v, out, lse, shape)) {
    return;
  }
  const Tensor delta = allocate(Dtype::f32, lse.shape());
  const AttentionSizes sizes = sizes_of(shape, bias);
  const int64_t rows = shape.batch * shape.queries;
  const auto tiles = [](int64_t count) { return static_cast<unsigned>(ceil_div(count, kTile)); };
  const auto batch = static_cast<unsigned>(shape.batch);
  const dim3 of_queries(tiles(shape.queries), static_cast<unsigned>(shape.heads), batch);
  const dim3 of_keys(tiles(shape.keys), static_cast<unsigned>(shape.kv_heads), batch);
  const size_t shared = shared_bytes(shape.head_dim);
  with_type(q.dtype(), [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    launch({stream_, blocks_for(rows * shape.heads * kWarp, kDeltaThreads), kDeltaThreads},
           delta_kernel<T>, delta.data<float>(), d_out.data<T>(), out.data<T>(), rows, sizes);
    with_columns(shape.head_dim, [&](auto columns) {
      launch({stream_, of_queries, kTileThreads, shared}, d_query_kernel<T, columns>, d_q.data<T>(),
             d_out.data<T>(), q.data<T>(), k.data<T>(), v.data<T>(), lse.data<float>(),
             delta.data<float>(), sizes);
      launch({stream_, of_keys, kTileThreads, shared}, d_key_value_kernel<T, columns>,
             d_k.data<T>(), d_v.data<T>(), d_out.data<T>(), q.data<T>(), k.data<T>(), v.data<T>(),
             lse.data<float>(), delta.data<float>(), sizes);
    });
  });
  if (!d_bias.empty()) add_bias_gradient(d_bias, d_out, q, k, v, lse, delta, shape, bias);
}

}  // namespace ropesweep::backend::cuda
