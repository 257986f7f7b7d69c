// Sums, scaling, conversion, the sum of squares and the greatest logit.
#include <vector>

#include "worker/backend/cuda/cuda_backend.h"
#include "worker/backend/cuda/launch.h"

namespace ropesweep::backend::cuda {

namespace {

constexpr int kThreads = 256;
/// Elements whose squares a block sums; the blocks' sums are added up on the host in f64.
constexpr int64_t kSumChunk = 1 << 16;
constexpr int kArgmaxThreads = 1024;

template <typename To, typename From, int V>
__global__ void __launch_bounds__(kThreads) add_kernel(To* to, const From* x, int64_t count) {
  const int64_t i = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * V;
  if (i >= count) return;
  float sum[V], term[V];
  load(to + i, sum);
  load(x + i, term);
  for (int n = 0; n < V; ++n) sum[n] += term[n];
  store(sum, to + i);
}

template <typename To, typename From, int V>
__global__ void __launch_bounds__(kThreads) convert_kernel(To* to, const From* x, int64_t count) {
  const int64_t i = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * V;
  if (i >= count) return;
  float value[V];
  load(x + i, value);
  store(value, to + i);
}

template <typename T, int V>
__global__ void __launch_bounds__(kThreads) scale_kernel(T* x, float factor, int64_t count) {
  const int64_t i = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * V;
  if (i >= count) return;
  float value[V];
  load(x + i, value);
  for (int n = 0; n < V; ++n) value[n] *= factor;
  store(value, x + i);
}

__global__ void __launch_bounds__(kThreads)
    squares_kernel(double* sums, const float* x, int64_t count) {
  __shared__ double slots[33];
  const int64_t first = int64_t{blockIdx.x} * kSumChunk;
  const int64_t last = first + kSumChunk < count ? first + kSumChunk : count;
  float sum = 0;
  for (int64_t i = first + threadIdx.x; i < last; i += kThreads) sum += x[i] * x[i];
  const double total = block_sum(static_cast<double>(sum), slots);
  if (threadIdx.x == 0) sums[blockIdx.x] = total;
}

/// The greater value wins, on a tie the lower index.
__global__ void __launch_bounds__(kArgmaxThreads)
    argmax_kernel(int32_t* best_index, const float* x, int64_t count) {
  __shared__ float values[kArgmaxThreads / kWarp];
  __shared__ int64_t indices[kArgmaxThreads / kWarp];
  // From element 0 on, so that a NaN loses to all but itself, as on the CPU.
  float best = x[0];
  int64_t index = 0;
  for (int64_t i = threadIdx.x; i < count; i += kArgmaxThreads) {
    if (x[i] > best || (x[i] == best && i < index)) {
      best = x[i];
      index = i;
    }
  }
  const auto reduce = [&] {
    for (int offset = 16; offset > 0; offset /= 2) {
      const float other = __shfl_xor_sync(kAllLanes, best, offset);
      const int64_t other_index = __shfl_xor_sync(kAllLanes, index, offset);
      if (other > best || (other == best && other_index < index)) {
        best = other;
        index = other_index;
      }
    }
  };
  reduce();
  if (threadIdx.x % kWarp == 0) {
    values[threadIdx.x / kWarp] = best;
    indices[threadIdx.x / kWarp] = index;
  }
  __syncthreads();
  if (threadIdx.x >= kWarp) return;
  best = values[threadIdx.x];
  index = indices[threadIdx.x];
  reduce();
  if (threadIdx.x == 0) *best_index = static_cast<int32_t>(index);
}

/// Calls `body` with null pointers of both element types.
template <typename Body>
void with_types(Dtype first, Dtype second, Body body) {
  with_type(first, [&](auto* a) { with_type(second, [&](auto* b) { body(a, b); }); });
}

}  // namespace

void CudaBackend::add(const Tensor& to, const Tensor& x) {
  const int64_t count = to.elements();
  with_types(to.dtype(), x.dtype(), [&](auto* a, auto* b) {
    using To = std::remove_pointer_t<decltype(a)>;
    using From = std::remove_pointer_t<decltype(b)>;
    with_width(takes_vectors(count, {to.raw(), x.raw()}), [&](auto v) {
      launch({stream_, blocks_for(count / v, kThreads), kThreads}, add_kernel<To, From, v>,
             to.data<To>(), x.data<From>(), count);
    });
  });
}

void CudaBackend::copy(const Tensor& to, const Tensor& from) {
  use_device();
  if (to.dtype() == from.dtype()) {
    if (to.raw() == from.raw() || to.bytes() == 0) return;
    check(cudaMemcpyAsync(to.raw(), from.raw(), to.bytes(), cudaMemcpyDeviceToDevice, stream_),
          "copying a tensor");
    return;
  }
  const int64_t count = to.elements();
  with_types(to.dtype(), from.dtype(), [&](auto* a, auto* b) {
    using To = std::remove_pointer_t<decltype(a)>;
    using From = std::remove_pointer_t<decltype(b)>;
    with_width(takes_vectors(count, {to.raw(), from.raw()}), [&](auto v) {
      launch({stream_, blocks_for(count / v, kThreads), kThreads}, convert_kernel<To, From, v>,
             to.data<To>(), from.data<From>(), count);
    });
  });
}

void CudaBackend::scale(const Tensor& x, float factor) {
  const int64_t count = x.elements();
  with_type(x.dtype(), [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    with_width(takes_vectors(count, {x.raw()}), [&](auto v) {
      launch({stream_, blocks_for(count / v, kThreads), kThreads}, scale_kernel<T, v>, x.data<T>(),
             factor, count);
    });
  });
}

double CudaBackend::sum_of_squares(const std::vector<Tensor>& tensors) {
  int64_t chunks = 0;
  for (const Tensor& x : tensors) chunks += ceil_div(x.elements(), kSumChunk);
  if (chunks == 0) return 0;
  const Tensor sums = allocate(Dtype::f32, {2 * chunks});  // f64 [chunks]
  int64_t first = 0;
  for (const Tensor& x : tensors) {
    const int64_t count = ceil_div(x.elements(), kSumChunk);
    launch({stream_, dim3(static_cast<unsigned>(count)), kThreads}, squares_kernel,
           sums.data<double>() + first, x.data<float>(), x.elements());
    first += count;
  }
  std::vector<double> host(static_cast<size_t>(chunks));
  download(host.data(), sums);
  double total = 0;
  for (const double sum : host) total += sum;
  return total;
}

void CudaBackend::argmax(const Tensor& index, const Tensor& logits) {
  launch({stream_, dim3(1), kArgmaxThreads}, argmax_kernel, index.data<int32_t>(),
         logits.data<float>(), logits.elements());
}

int64_t CudaBackend::argmax(const Tensor& logits) {
  const Tensor best = allocate(Dtype::i32, {1});
  argmax(best, logits);
  int32_t index = 0;
  download(&index, best);
  return index;
}

}  // namespace ropesweep::backend::cuda
