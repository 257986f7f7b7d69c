// Two partial attentions of the same queries over different keys become one (Liu 2023, ring
// attention; the identity behind Dao 2023, FlashAttention-2).
//
// Letters: B batch · T queries · H heads · K head dimension
#include "worker/backend/cuda/cuda_backend.h"
#include "worker/backend/cuda/launch.h"

namespace ropesweep::backend::cuda {

namespace {

constexpr int kThreads = 128;

/// A warp a row of a head.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    merge_kernel(T* out, float* lse, const T* part_out, const float* part_lse, int64_t rows,
                 int64_t heads, int64_t queries, int head_dim) {
  const int64_t index = (int64_t{blockIdx.x} * kThreads + threadIdx.x) / kWarp;  // row · H + head
  if (index >= rows * heads) return;
  const int64_t row = index / heads, head = index % heads;
  const int64_t statistic = (row / queries * heads + head) * queries + row % queries;
  const float own = lse[statistic], other = part_lse[statistic];
  // No key among the part's: all stays as it is, −∞ and zeros too.
  if (other == -INFINITY) return;
  const float most = own > other ? own : other;
  const float weight = expf(own - most), part_weight = expf(other - most);
  const float sum = weight + part_weight;
  for (int i = static_cast<int>(threadIdx.x % kWarp); i < head_dim; i += kWarp) {
    const int64_t at = index * head_dim + i;
    const float kept = weight / sum * to_float(out[at]);
    from_float(kept + part_weight / sum * to_float(part_out[at]), out[at]);
  }
  __syncwarp();  // all have read it
  if (threadIdx.x % kWarp == 0) lse[statistic] = most + logf(sum);
}

}  // namespace

void CudaBackend::merge_attention(const Tensor& out, const Tensor& lse, const Tensor& part_out,
                                  const Tensor& part_lse) {
  const int64_t rows = out.dim(0), heads = out.dim(1);
  with_type(out.dtype(), [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    launch({stream_, blocks_for(rows * heads * kWarp, kThreads), kThreads}, merge_kernel<T>,
           out.data<T>(), lse.data<float>(), part_out.data<T>(), part_lse.data<float>(), rows,
           heads, lse.dim(2), static_cast<int>(out.dim(2)));
  });
}

}  // namespace ropesweep::backend::cuda
