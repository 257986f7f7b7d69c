// Dropout: out = x · mask / (1 − p), and since the mask is drawn anew from its place, its own
// gradient.
#include "worker/backend/cuda/cuda_backend.h"
#include "worker/backend/cuda/launch.h"
#include "worker/backend/dropout.h"

namespace ropesweep::backend::cuda {

namespace {

constexpr int kThreads = 256;

template <typename T, int V>
__global__ void __launch_bounds__(kThreads)
    dropout_kernel(T* out, const T* x, int64_t count, DropoutMask mask) {
  const int64_t i = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * V;
  if (i >= count) return;
  float value[V], factor[V];
  load(x + i, value);
  mask.factors(static_cast<uint64_t>(i), V, factor);
  // What is dropped is 0 whatever it was.
  for (int n = 0; n < V; ++n) value[n] = factor[n] == 0 ? 0.0f : value[n] * factor[n];
  store(value, out + i);
}

}  // namespace

void CudaBackend::dropout(const Tensor& out, const Tensor& x, const Dropout& settings) {
  const int64_t count = x.elements();
  const DropoutMask mask = dropout_mask(settings);
  with_type(x.dtype(), [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    with_width(takes_vectors(count, {out.raw(), x.raw()}), [&](auto width) {
      launch({stream_, blocks_for(count / width, kThreads), kThreads}, dropout_kernel<T, width>,
             out.data<T>(), x.data<T>(), count, mask);
    });
  });
}

}  // namespace ropesweep::backend::cuda
