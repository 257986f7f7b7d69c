// The bias of a product, as each row or added to it, and its gradient, the sum over the rows.
//
// Letters: R rows · N width
#include "worker/backend/cuda/column_parts.h"
#include "worker/backend/cuda/cuda_backend.h"
#include "worker/backend/cuda/launch.h"

namespace ropesweep::backend::cuda {

namespace {

constexpr int kThreads = 256;

template <typename T, int V>
__global__ void __launch_bounds__(kThreads)
    set_bias_kernel(T* x, const T* bias, int64_t count, int64_t width) {
  const int64_t i = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * V;
  if (i >= count) return;
  float term[V];
  load(bias + i % width, term);
  store(term, x + i);
}

template <typename T, int V>
__global__ void __launch_bounds__(kThreads)
    add_bias_kernel(T* x, const T* bias, int64_t count, int64_t width) {
  const int64_t i = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * V;
  if (i >= count) return;
  float sum[V], term[V];
  load(x + i, sum);
  load(bias + i % width, term);
  ROPESWEEP_UNROLL
  for (int n = 0; n < V; ++n) sum[n] += term[n];
  store(sum, x + i);
}

/// The runs' parts of d_bias, `parts` [runs, N]. Grid: run_blocks.
template <typename T, int V>
__global__ void __launch_bounds__(kRunThreads)
    d_bias_kernel(float* parts, const T* d_out, int64_t rows, int64_t width) {
  const int64_t i = (int64_t{blockIdx.x} * kRunThreads + threadIdx.x) * V;
  if (i >= width) return;
  const int64_t first = int64_t{blockIdx.y} * kRunRows;
  const int64_t last = first + kRunRows < rows ? first + kRunRows : rows;
  float sum[V] = {};
  for (int64_t row = first; row < last; ++row) {
    float d[V];
    load(d_out + row * width + i, d);
    ROPESWEEP_UNROLL
    for (int n = 0; n < V; ++n) sum[n] += d[n];
  }
  store(sum, parts + blockIdx.y * width + i);
}

}  // namespace

void CudaBackend::set_bias(const Tensor& x, const Tensor& bias) {
  const int64_t count = x.elements(), width = x.dim(1);
  with_type(x.dtype(), [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    with_width(takes_vectors(width, {x.raw(), bias.raw()}), [&](auto v) {
      launch({stream_, blocks_for(count / v, kThreads), kThreads}, set_bias_kernel<T, v>,
             x.data<T>(), bias.data<T>(), count, width);
    });
  });
}

void CudaBackend::add_bias(const Tensor& x, const Tensor& bias) {
  const int64_t count = x.elements(), width = x.dim(1);
  with_type(x.dtype(), [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    with_width(takes_vectors(width, {x.raw(), bias.raw()}), [&](auto v) {
      launch({stream_, blocks_for(count / v, kThreads), kThreads}, add_bias_kernel<T, v>,
             x.data<T>(), bias.data<T>(), count, width);
    });
  });
}

void CudaBackend::add_bias_backward(const Tensor& d_bias, const Tensor& d_out) {
  const int64_t rows = d_out.dim(0), width = d_out.dim(1);
  const int64_t runs = ceil_div(rows, kRunRows);
  const Tensor parts = allocate(Dtype::f32, {runs, width});
  with_type(d_out.dtype(), [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    with_width(takes_vectors(width, {d_out.raw(), parts.raw()}), [&](auto v) {
      launch({stream_, run_blocks(rows, width, v), kRunThreads}, d_bias_kernel<T, v>,
             parts.data<float>(), d_out.data<T>(), rows, width);
    });
  });
  add_parts(stream_, d_bias.data<float>(), parts.data<float>(), runs, width);
}

}  // namespace ropesweep::backend::cuda
