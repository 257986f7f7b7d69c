// Attention of few queries over many keys, as a decoder has it: bound by the reading of keys and
// values, and short of rows to spread over the device. The keys are cut into splits of fixed
// length (flash decoding, Dao et al. 2023); a block takes one split for up to four query heads of
// a key-value head, and a second kernel puts the splits together in their order. A query's result
// does not depend on how many queries there are. In a recording the number of keys lies on the
// device, and the grid has room for all that there may be.
//
// Letters: as in attention_tiles.h · B batch
#include "worker/backend/cuda/attention_tiles.h"
#include "worker/backend/cuda/cuda_backend.h"

namespace ropesweep::backend::cuda {

namespace {

constexpr int kSplit = 128;  ///< keys
constexpr int kThreads = 128;
constexpr int kWarps = kThreads / static_cast<int>(kWarp);
/// Keys whose loads a thread has under way together.
constexpr int kAhead = 4;
constexpr int kCombineThreads = 64;

/// A key's row is taken by kLanes neighbouring threads: thread n has elements (n + i·kLanes)·V ….
template <int kV, int kLaneCount, int kChunkCount>
struct RowLayout {
  static constexpr int V = kV, kLanes = kLaneCount, kChunks = kChunkCount;
  static constexpr int kKeys = kThreads / kLanes;  ///< rows that a block has at once
  static constexpr int kElements = kChunks * V;    ///< of a thread
  static constexpr int kWidth = kLanes * kElements;
};

/// Calls `body` with the layout for a head dimension.
template <typename Body>
void with_layout(int64_t head_dim, bool vectors, Body body) {
  if (!vectors) return body(RowLayout<1, 32, 8>());
  if (head_dim <= 64) return body(RowLayout<kVector, 8, 1>());
  if (head_dim <= 128) return body(RowLayout<kVector, 16, 1>());
  body(RowLayout<kVector, 32, 1>());
}

/// A thread's elements of a row; zeros past its end.
template <typename Layout, typename T>
__device__ __forceinline__ void load_part(float (&part)[Layout::kElements], const T* row,
                                          int head_dim, int lane, bool inside) {
  ROPESWEEP_UNROLL
  for (int chunk = 0; chunk < Layout::kChunks; ++chunk) {
    const int column = (lane + chunk * Layout::kLanes) * Layout::V;
    float values[Layout::V] = {};
    if (inside && column < head_dim) load(row + column, values);
    ROPESWEEP_UNROLL
    for (int i = 0; i < Layout::V; ++i) part[chunk * Layout::V + i] = values[i];
  }
}

/// What a split leaves: sums of weighted values [rows, splits, K], and per row and split the
/// greatest score and the sum of weights; rows are [B, T, H]. Of all splits of the keys those from
/// `first` on are there, which any of the queries sees.
struct Parts {
  float *sums, *most, *weights;
  int64_t first, splits;
};

/// Sizes as they are now. Before anything that reads the keys' number or the band.
__device__ __forceinline__ void settle(AttentionSizes& s) {
  if (s.past == nullptr) return;
  s.keys = *s.past + s.queries;
  s.band.position = *s.past;
  s.band.keys = std::min(s.band.keys, s.keys);
}

/// Grid: splits · G times chunks of kHeads query heads · B·T.
template <typename T, typename Layout, int kHeads>
__global__ void __launch_bounds__(kThreads)
    split_kernel(Parts parts, const T* q, const T* k, const T* v, AttentionSizes s) {
  __shared__ float weights[kHeads][kSplit];
  __shared__ float sums[Layout::kKeys * kHeads * Layout::kWidth];
  settle(s);
  const int group = static_cast<int>(s.heads / s.kv_heads);
  const int chunks = (group + kHeads - 1) / kHeads;
  const int64_t kv_head = blockIdx.y / chunks;
  const int first_head = static_cast<int>(blockIdx.y % chunks) * kHeads;  // of the group
  const int heads = group - first_head < kHeads ? group - first_head : kHeads;
  const int64_t t = blockIdx.z % s.queries, batch = blockIdx.z / s.queries;
  // The split's keys that this query sees.
  const int64_t split = (parts.first + blockIdx.x) * kSplit;
  const int64_t first = std::max(split, s.band.first_key(t));
  const int64_t end = std::min(split + kSplit, s.band.end_key(t));
  if (first >= end) return;
  const int count = static_cast<int>(end - first);
  const int64_t row = blockIdx.z * s.heads + kv_head * group + first_head;
  const int64_t kv_row = s.kv_heads * s.head_dim;
  const int64_t kv_at = (batch * s.keys + first) * kv_row + kv_head * s.head_dim;
  const int lane = static_cast<int>(threadIdx.x) % Layout::kLanes;
  const int key = static_cast<int>(threadIdx.x) / Layout::kLanes;

  float query[kHeads][Layout::kElements];
  ROPESWEEP_UNROLL
  for (int h = 0; h < kHeads; ++h) {
    load_part<Layout>(query[h], q + (row + h) * s.head_dim, s.head_dim, lane, h < heads);
  }
  for (int base = 0; base < count; base += Layout::kKeys * kAhead) {
    float part[kAhead][Layout::kElements];
    ROPESWEEP_UNROLL
    for (int n = 0; n < kAhead; ++n) {
      const int j = base + n * Layout::kKeys + key;
      load_part<Layout>(part[n], k + kv_at + j * kv_row, s.head_dim, lane, j < count);
    }
    ROPESWEEP_UNROLL
    for (int n = 0; n < kAhead; ++n) {
      const int j = base + n * Layout::kKeys + key;
      ROPESWEEP_UNROLL
      for (int h = 0; h < kHeads; ++h) {
        float score = 0;
        ROPESWEEP_UNROLL
        for (int i = 0; i < Layout::kElements; ++i) score += query[h][i] * part[n][i];
        for (int offset = Layout::kLanes / 2; offset > 0; offset /= 2) {
          score += __shfl_xor_sync(kAllLanes, score, offset);
        }
        if (lane != 0 || j >= count) continue;
        weights[h][j] = s.scale * score;
        if (s.bias != nullptr && h < heads) {
          weights[h][j] +=
              s.bias_at(kv_head * group + first_head + h, s.band.distance(t, first + j));
        }
      }
    }
  }
  __syncthreads();

  // Scores to weights, a warp a head.
  const int warp = static_cast<int>(threadIdx.x / kWarp);
  for (int h = warp; h < heads; h += kWarps) {
    float most = -INFINITY, sum = 0;
    for (int j = static_cast<int>(threadIdx.x % kWarp); j < count; j += kWarp) {
      most = weights[h][j] > most ? weights[h][j] : most;
    }
    most = warp_max(most);
    for (int j = static_cast<int>(threadIdx.x % kWarp); j < count; j += kWarp) {
      const float weight = expf(weights[h][j] - most);
      weights[h][j] = weight;
      sum += weight;
    }
    sum = warp_sum(sum);
    if (threadIdx.x % kWarp == 0) {
      parts.most[(row + h) * parts.splits + blockIdx.x] = most;
      parts.weights[(row + h) * parts.splits + blockIdx.x] = sum;
    }
  }
  __syncthreads();

  float out[kHeads][Layout::kElements] = {};
  for (int base = 0; base < count; base += Layout::kKeys * kAhead) {
    float part[kAhead][Layout::kElements];
    ROPESWEEP_UNROLL
    for (int n = 0; n < kAhead; ++n) {
      const int j = base + n * Layout::kKeys + key;
      load_part<Layout>(part[n], v + kv_at + j * kv_row, s.head_dim, lane, j < count);
    }
    ROPESWEEP_UNROLL
    for (int n = 0; n < kAhead; ++n) {
      const int j = base + n * Layout::kKeys + key;
      if (j >= count) continue;
      ROPESWEEP_UNROLL
      for (int h = 0; h < kHeads; ++h) {
        const float weight = h < heads ? weights[h][j] : 0.0f;
        ROPESWEEP_UNROLL
        for (int i = 0; i < Layout::kElements; ++i) out[h][i] += weight * part[n][i];
      }
    }
  }
  ROPESWEEP_UNROLL
  for (int h = 0; h < kHeads; ++h) {
    ROPESWEEP_UNROLL
    for (int i = 0; i < Layout::kElements; ++i) {
      const int column = (lane + i / Layout::V * Layout::kLanes) * Layout::V + i % Layout::V;
      sums[(key * kHeads + h) * Layout::kWidth + column] = out[h][i];
    }
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < heads * s.head_dim; i += kThreads) {
    const int h = i / s.head_dim, column = i % s.head_dim;
    float sum = 0;
    for (int n = 0; n < Layout::kKeys; ++n) sum += sums[(n * kHeads + h) * Layout::kWidth + column];
    parts.sums[((row + h) * parts.splits + blockIdx.x) * s.head_dim + column] = sum;
  }
}

/// A block a row: out and lse from the row's splits.
template <typename T>
__global__ void __launch_bounds__(kCombineThreads)
    combine_kernel(T* out, float* lse, Parts parts, AttentionSizes s) {
  settle(s);
  const int64_t row = blockIdx.x, head = row % s.heads;
  const int64_t t = row / s.heads % s.queries, batch = row / s.heads / s.queries;
  // The splits with a key that t sees.
  const int64_t first_key = s.band.first_key(t), end_key = s.band.end_key(t);
  const int64_t first = first_key / kSplit - parts.first;
  const int64_t end = first_key < end_key ? (end_key + kSplit - 1) / kSplit - parts.first : first;
  const float* const most = parts.most + row * parts.splits;
  const float* const weights = parts.weights + row * parts.splits;
  float greatest = first < end ? most[first] : -INFINITY, total = 0;
  for (int64_t i = first + 1; i < end; ++i) greatest = most[i] > greatest ? most[i] : greatest;
  for (int64_t i = first; i < end; ++i) total += weights[i] * expf(most[i] - greatest);
  for (int column = static_cast<int>(threadIdx.x); column < s.head_dim; column += kCombineThreads) {
    float sum = 0;
    for (int64_t i = first; i < end; ++i) {
      sum += parts.sums[(row * parts.splits + i) * s.head_dim + column] * expf(most[i] - greatest);
    }
    from_float(first < end ? sum / total : 0.0f, out[row * s.head_dim + column]);
  }
  if (threadIdx.x == 0) lse[(batch * s.heads + head) * s.queries + t] = greatest + logf(total);
}

}  // namespace

void CudaBackend::attention_of_few(const Tensor& out, const Tensor& lse, const Tensor& q,
                                   const Tensor& k, const Tensor& v, const AttentionShape& shape,
                                   const Tensor& bias) {
  const int64_t rows = shape.batch * shape.queries * shape.heads;
  const int64_t group = shape.heads / shape.kv_heads;
  const AttentionSizes sizes = sizes_of(shape, bias);
  // A recording has room for any past.
  const bool recorded = !shape.past.empty();
  const int64_t first = recorded ? 0 : sizes.band.first_key(0) / kSplit;
  const int64_t end = recorded ? sizes.band.keys : sizes.band.end_key(shape.queries - 1);
  const int64_t splits = std::max<int64_t>(ceil_div(end, kSplit) - first, 0);
  const Tensor sums = allocate(Dtype::f32, {rows, splits, shape.head_dim});
  const Tensor most = allocate(Dtype::f32, {rows, splits});
  const Tensor weights = allocate(Dtype::f32, {rows, splits});
  const Parts parts{sums.data<float>(), most.data<float>(), weights.data<float>(), first, splits};
  const bool vectors = takes_vectors(shape.head_dim, {q.raw(), k.raw(), v.raw()});
  with_type(q.dtype(), [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    with_layout(shape.head_dim, vectors, [&](auto layout) {
      const auto split = [&](auto heads) {
        const dim3 grid(static_cast<unsigned>(splits),
                        static_cast<unsigned>(shape.kv_heads * ceil_div(group, heads)),
                        static_cast<unsigned>(shape.batch * shape.queries));
        launch({stream_, grid, kThreads}, split_kernel<T, decltype(layout), heads>, parts,
               q.data<T>(), k.data<T>(), v.data<T>(), sizes);
      };
      group == 1 ? split(std::integral_constant<int, 1>())
                 : split(std::integral_constant<int, 4>());
    });
    launch({stream_, dim3(static_cast<unsigned>(rows)), kCombineThreads}, combine_kernel<T>,
           out.data<T>(), lse.data<float>(), parts, sizes);
  });
}

}  // namespace ropesweep::backend::cuda
