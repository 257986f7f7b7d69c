// Cross-entropy over a chunk of logits, a block a row: the greatest logit and the sum of
// exponentials in one pass (online softmax, Milakov & Gimelshein 2018), then the loss or its
// gradient.
//
// Letters: R rows · V vocabulary
#include "worker/backend/cuda/cuda_backend.h"
#include "worker/backend/cuda/launch.h"

namespace ropesweep::backend::cuda {

namespace {

constexpr int kThreads = 512;

struct Softmax {
  float most, sum;
};

/// The greatest of x[0 … count) and Σ exp(x − greatest), the same for every thread.
__device__ Softmax softmax_of(const float* x, int64_t count, float* slots) {
  float most = -INFINITY, sum = 0;
  for (int64_t i = threadIdx.x; i < count; i += kThreads) {
    const float value = x[i];
    if (value > most) {
      sum = sum * expf(most - value) + 1.0f;
      most = value;
    } else if (value != -INFINITY) {  // a NaN goes on into the sum
      sum += expf(value - most);
    }
  }
  const float greatest = block_max(most, slots);
  const float scaled = sum == 0.0f ? 0.0f : sum * expf(most - greatest);
  return {greatest, block_sum(scaled, slots)};
}

__global__ void __launch_bounds__(kThreads)
    cross_entropy_kernel(float* nll, const float* logits, const int32_t* targets,
                         int64_t vocabulary) {
  __shared__ float slots[33];
  const int32_t target = targets[blockIdx.x];
  if (target < 0) {
    if (threadIdx.x == 0) nll[blockIdx.x] = 0;
    return;
  }
  const float* x = logits + int64_t{blockIdx.x} * vocabulary;
  const Softmax s = softmax_of(x, vocabulary, slots);
  if (threadIdx.x == 0) nll[blockIdx.x] = logf(s.sum) + (s.most - x[target]);
}

/// `d_logits` may be `logits`: each element is read and written by one thread.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    cross_entropy_backward_kernel(T* d_logits, const float* logits, const int32_t* targets,
                                  int64_t vocabulary, float scale) {
  __shared__ float slots[33];
  const int32_t target = targets[blockIdx.x];
  const int64_t at = int64_t{blockIdx.x} * vocabulary;
  if (target < 0) {
    for (int64_t i = threadIdx.x; i < vocabulary; i += kThreads) from_float(0.0f, d_logits[at + i]);
    return;
  }
  const Softmax s = softmax_of(logits + at, vocabulary, slots);
  for (int64_t i = threadIdx.x; i < vocabulary; i += kThreads) {
    const float p = expf(logits[at + i] - s.most) / s.sum;
    from_float((i == target ? p - 1.0f : p) * scale, d_logits[at + i]);
  }
}

}  // namespace

void CudaBackend::cross_entropy(const Tensor& nll, const Tensor& logits, const Tensor& targets) {
  launch({stream_, dim3(static_cast<unsigned>(logits.dim(0))), kThreads}, cross_entropy_kernel,
         nll.data<float>(), logits.data<float>(), targets.data<int32_t>(), logits.dim(1));
}

void CudaBackend::cross_entropy_backward(const Tensor& d_logits, const Tensor& logits,
                                         const Tensor& targets, float scale) {
  with_type(d_logits.dtype(), [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    launch({stream_, dim3(static_cast<unsigned>(logits.dim(0))), kThreads},
           cross_entropy_backward_kernel<T>, d_logits.data<T>(), logits.data<float>(),
           targets.data<int32_t>(), logits.dim(1), scale);
  });
}

}  // namespace ropesweep::backend::cuda
