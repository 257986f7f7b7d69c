// RMSNorm with the residual before it (Zhang & Sennrich 2019, eq. 4), and its gradient
//   d_x = rstd · (g − x · rstd² · Σ(g·x) / D),  g = d_out ⊙ weight;  d_weight = Σ_r d_out · x ·
//   rstd
//
// A block takes a row; the second read of a row comes from the cache. The weight's gradient is
// summed over a fixed number of runs of rows, then over the runs, always in the same order.
//
// Letters: R rows · D width
#include "worker/backend/cuda/cuda_backend.h"
#include "worker/backend/cuda/launch.h"

namespace ropesweep::backend::cuda {

namespace {

constexpr int kThreads = 256;
/// Rows of a run of the weight's gradient, whatever the device: its bits depend on this.
constexpr int64_t kRunRows = 64;

template <typename T, int V>
__global__ void __launch_bounds__(kThreads)
    rms_norm_kernel(T* out, float* rstd, T* residual, const T* x, const T* weight, int64_t width,
                    float epsilon) {
  __shared__ float slots[33];
  const int64_t at = int64_t{blockIdx.x} * width;
  float squares = 0;
  for (int64_t i = threadIdx.x * V; i < width; i += kThreads * V) {
    float r[V];
    load(residual + at + i, r);
    if (x != nullptr) {
      float added[V];
      load(x + at + i, added);
      for (int n = 0; n < V; ++n) r[n] += added[n];
      store(r, residual + at + i);
      load(residual + at + i, r);  // as it is kept, rounded
    }
    for (int n = 0; n < V; ++n) squares += r[n] * r[n];
  }
  const float mean = block_sum(squares, slots) / static_cast<float>(width);
  const float scale = 1.0f / sqrtf(mean + epsilon);
  if (threadIdx.x == 0) rstd[blockIdx.x] = scale;
  for (int64_t i = threadIdx.x * V; i < width; i += kThreads * V) {
    float r[V], w[V];
    load(residual + at + i, r);
    load(weight + i, w);
    for (int n = 0; n < V; ++n) r[n] *= scale * w[n];
    store(r, out + at + i);
  }
}

/// One run of rows: d_residual, and the run's part of d_weight in `parts` [runs, D].
template <typename T, int V>
__global__ void __launch_bounds__(kThreads)
    rms_norm_backward_kernel(T* d_residual, float* parts, const T* d_out, const T* residual,
                             const float* rstd, const T* weight, int64_t rows, int64_t width) {
  __shared__ float slots[33];
  float* part = parts + int64_t{blockIdx.x} * width;  // each thread has its own columns
  for (int64_t i = threadIdx.x * V; i < width; i += kThreads * V) {
    const float zeros[V] = {};
    store(zeros, part + i);
  }
  const int64_t first = int64_t{blockIdx.x} * kRunRows;
  const int64_t last = first + kRunRows < rows ? first + kRunRows : rows;
  for (int64_t row = first; row < last; ++row) {
    const int64_t at = row * width;
    const float scale = rstd[row];
    float dot = 0;
    for (int64_t i = threadIdx.x * V; i < width; i += kThreads * V) {
      float d[V], x[V], w[V], sum[V];
      load(d_out + at + i, d);
      load(residual + at + i, x);
      load(weight + i, w);
      load(part + i, sum);
      for (int n = 0; n < V; ++n) {
        dot += d[n] * w[n] * x[n];
        sum[n] += d[n] * x[n] * scale;
      }
      store(sum, part + i);
    }
    const float shift = block_sum(dot, slots) / static_cast<float>(width) * scale * scale;
    for (int64_t i = threadIdx.x * V; i < width; i += kThreads * V) {
      float d[V], x[V], w[V], to[V];
      load(d_out + at + i, d);
      load(residual + at + i, x);
      load(weight + i, w);
      load(d_residual + at + i, to);
      for (int n = 0; n < V; ++n) to[n] += scale * (d[n] * w[n] - x[n] * shift);
      store(to, d_residual + at + i);
    }
  }
}

__global__ void __launch_bounds__(kThreads)
    add_parts_kernel(float* to, const float* parts, int64_t count, int64_t width) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= width) return;
  float sum = to[i];
  for (int64_t part = 0; part < count; ++part) sum += parts[part * width + i];
  to[i] = sum;
}

}  // namespace

void CudaBackend::rms_norm(const Tensor& out, const Tensor& rstd, const Tensor& residual,
                           const Tensor& x, const Tensor& weight, float epsilon) {
  const int64_t width = residual.dim(1);
  const bool vectors = takes_vectors(width, {out.raw(), residual.raw(), x.raw(), weight.raw()});
  with_type(residual.dtype(), [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    with_width(vectors, [&](auto v) {
      launch({stream_, dim3(static_cast<unsigned>(residual.dim(0))), kThreads},
             rms_norm_kernel<T, v>, out.data<T>(), rstd.data<float>(), residual.data<T>(),
             x.data<T>(), weight.data<T>(), width, epsilon);
    });
  });
}

void CudaBackend::rms_norm_backward(const Tensor& d_residual, const Tensor& d_weight,
                                    const Tensor& d_out, const Tensor& residual, const Tensor& rstd,
                                    const Tensor& weight) {
  const int64_t rows = residual.dim(0), width = residual.dim(1);
  const int64_t runs = ceil_div(rows, kRunRows);
  const Tensor parts = allocate(Dtype::f32, {runs, width});
  const bool vectors = takes_vectors(
      width, {d_residual.raw(), d_out.raw(), residual.raw(), weight.raw(), parts.raw()});
  with_type(residual.dtype(), [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    with_width(vectors, [&](auto v) {
      launch({stream_, dim3(static_cast<unsigned>(runs)), kThreads}, rms_norm_backward_kernel<T, v>,
             d_residual.data<T>(), parts.data<float>(), d_out.data<T>(), residual.data<T>(),
             rstd.data<float>(), weight.data<T>(), rows, width);
    });
  });
  launch({stream_, blocks_for(width, kThreads), kThreads}, add_parts_kernel, d_weight.data<float>(),
         parts.data<float>(), runs, width);
}

}  // namespace ropesweep::backend::cuda
