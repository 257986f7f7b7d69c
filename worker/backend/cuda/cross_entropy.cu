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
template <int V>
__device__ Softmax softmax_of(const float* x, int64_t count, float* slots) {
  float most = -INFINITY, sum = 0;
  for (int64_t i = threadIdx.x * V; i < count; i += kThreads * V) {
    float values[V];
    load(x + i, values);
    float next = most;
    ROPESWEEP_UNROLL
    for (int n = 0; n < V; ++n) next = values[n] > next ? values[n] : next;
    if (next > most) {
      sum *= expf(most - next);
      most = next;
    }
    ROPESWEEP_UNROLL
    for (int n = 0; n < V; ++n) {
      // A NaN goes on into the sum.
      sum += values[n] == -INFINITY ? 0.0f : expf(values[n] - most);
    }
  }
  const float greatest = block_max(most, slots);
  const float scaled = sum == 0.0f ? 0.0f : sum * expf(most - greatest);
  return {greatest, block_sum(scaled, slots)};
}

template <int V>
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
  const Softmax s = softmax_of<V>(x, vocabulary, slots);
  if (threadIdx.x == 0) nll[blockIdx.x] = logf(s.sum) + (s.most - x[target]);
}

/// `d_logits` may be `logits`: each element is read and written by one thread.
template <typename T, int V>
__global__ void __launch_bounds__(kThreads)
    cross_entropy_backward_kernel(T* d_logits, const float* logits, const int32_t* targets,
                                  int64_t vocabulary, float scale) {
  __shared__ float slots[33];
  const int32_t target = targets[blockIdx.x];
  const int64_t at = int64_t{blockIdx.x} * vocabulary;
  if (target < 0) {
    const float zeros[V] = {};
    for (int64_t i = threadIdx.x * V; i < vocabulary; i += kThreads * V) {
      store(zeros, d_logits + at + i);
    }
    return;
  }
  const Softmax s = softmax_of<V>(logits + at, vocabulary, slots);
  for (int64_t i = threadIdx.x * V; i < vocabulary; i += kThreads * V) {
    float x[V];
    load(logits + at + i, x);
    ROPESWEEP_UNROLL
    for (int n = 0; n < V; ++n) {
      const float p = expf(x[n] - s.most) / s.sum;
      x[n] = (i + n == target ? p - 1.0f : p) * scale;
    }
    store(x, d_logits + at + i);
  }
}

}  // namespace

void CudaBackend::cross_entropy(const Tensor& nll, const Tensor& logits, const Tensor& targets) {
  with_width(takes_vectors(logits.dim(1), {logits.raw()}), [&](auto width) {
    launch({stream_, dim3(static_cast<unsigned>(logits.dim(0))), kThreads},
           cross_entropy_kernel<width>, nll.data<float>(), logits.data<float>(),
           targets.data<int32_t>(), logits.dim(1));
  });
}

void CudaBackend::cross_entropy_backward(const Tensor& d_logits, const Tensor& logits,
                                         const Tensor& targets, float scale) {
  with_type(d_logits.dtype(), [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    with_width(takes_vectors(logits.dim(1), {logits.raw(), d_logits.raw()}), [&](auto width) {
      launch({stream_, dim3(static_cast<unsigned>(logits.dim(0))), kThreads},
             cross_entropy_backward_kernel<T, width>, d_logits.data<T>(), logits.data<float>(),
             targets.data<int32_t>(), logits.dim(1), scale);
    });
  });
}

}  // namespace ropesweep::backend::cuda
