// Attention with an online softmax (Dao 2023, FlashAttention-2, algorithm 1), T×S never
// stored, in f32 arithmetic: what runs where cuDNN's attention (attention_cudnn.h) does not.
// A block takes 32 queries of one head and walks over the keys that they see.
//
// Letters: as in attention_tiles.h · B batch
#include "worker/backend/cuda/attention_tiles.h"
#include "worker/backend/cuda/cuda_backend.h"

namespace ropesweep::backend::cuda {

namespace {

/// Grid: tiles of queries · H · B. Shared: q, k, v tiles, weights [32][33].
template <typename T, int kColumns>
__global__ void __launch_bounds__(kTileThreads)
    attention_kernel(T* out, float* lse, const T* q, const T* k, const T* v, AttentionSizes s) {
  float* const q_tile = shared_memory<float>();
  const int stride = tile_stride(s.head_dim);
  float* const k_tile = q_tile + kTile * stride;
  float* const v_tile = k_tile + kTile * stride;
  float* const weights = v_tile + kTile * stride;

  const auto [row, c, first, t, head, batch, q_row, kv_row, q_at, kv_at, begin, end] = QueryTile(s);
  const int64_t first_key = s.band.first_key(t), end_key = s.band.end_key(t);  // of this row
  load_tile(q_tile, q + q_at, first, s.queries, q_row, s.head_dim);
  float most = -INFINITY, sum = 0;
  float sums[kColumns] = {};
  for (int64_t key = begin; key < end; key += kTile) {
    __syncthreads();  // the last tile is done with
    load_tile(k_tile, k + kv_at, key, s.keys, kv_row, s.head_dim);
    load_tile(v_tile, v + kv_at, key, s.keys, kv_row, s.head_dim);
    __syncthreads();
    float scores[kRowKeys];
    dot_rows(scores, q_tile + row * stride, k_tile, s.head_dim, c);
    const bool whole = sees_tile(s, first, key);
    float tile_most = -INFINITY;
    ROPESWEEP_UNROLL
    for (int i = 0; i < kRowKeys; ++i) {
      const int64_t j = key + c + kRowThreads * i;
      const bool seen = whole || (j >= first_key && j < end_key);
      scores[i] = seen ? s.scale * scores[i] : -INFINITY;
      if (s.bias != nullptr) scores[i] += s.bias_at(head, s.band.distance(t, j));
      tile_most = scores[i] > tile_most ? scores[i] : tile_most;
    }
    tile_most = row_max(tile_most);
    const float next = tile_most > most ? tile_most : most;
    // A row that has seen no key yet has nothing but −∞, and weights of 0.
    const float offset = next == -INFINITY ? 0.0f : next;
    const float keep = expf(most - offset);
    float tile_sum = 0;
    ROPESWEEP_UNROLL
    for (int i = 0; i < kRowKeys; ++i) {
      const float weight = expf(scores[i] - offset);
      weights[row * kScoreStride + c + kRowThreads * i] = weight;
      tile_sum += weight;
    }
    sum = sum * keep + row_sum(tile_sum);
    most = next;
    __syncwarp();  // a row's threads are of one warp
    ROPESWEEP_UNROLL
    for (int i = 0; i < kColumns; ++i) sums[i] *= keep;
    add_weighted_rows(sums, weights + row * kScoreStride, 1, v_tile, s.head_dim, c);
  }
  if (t >= s.queries) return;
  store_columns(out + q_at + t * q_row, sums, sum == 0 ? 0.0f : 1.0f / sum, s.head_dim, c);
  if (c == 0) lse[(batch * s.heads + head) * s.queries + t] = most + logf(sum);
}

}  // namespace

void CudaBackend::attention(const Tensor& out, const Tensor& lse, const Tensor& q, const Tensor& k,
                            const Tensor& v, const AttentionShape& shape, const Tensor& bias) {
  if (shape.queries <= kFewRows) return attention_of_few(out, lse, q, k, v, shape, bias);
  if (fused_attention_ && bias.empty() && fused_attention_->forward(out, lse, q, k, v, shape)) {
    return;
  }
  const dim3 grid(static_cast<unsigned>(ceil_div(shape.queries, kTile)),
                  static_cast<unsigned>(shape.heads), static_cast<unsigned>(shape.batch));
  const size_t shared = (3 * tile_floats(shape.head_dim) + kTile * kScoreStride) * sizeof(float);
  with_type(q.dtype(), [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    with_columns(shape.head_dim, [&](auto columns) {
      launch({stream_, grid, kTileThreads, shared}, attention_kernel<T, columns>, out.data<T>(),
             lse.data<float>(), q.data<T>(), k.data<T>(), v.data<T>(), sizes_of(shape, bias));
    });
  });
}

}  // namespace ropesweep::backend::cuda
