// Embedding: rows of a table by id, out of it and into it, and the sum of gradients by id. The
// gradient's rows are sorted by id first (stable), so that each id's rows are added by one block in
// the order of r: no atomics, the same bits each time.
//
// Letters: R rows · D width · V vocabulary
#include "worker/backend/cuda/cuda_backend.h"
#include "worker/backend/cuda/launch.h"
#include "worker/backend/cuda/sort.h"

namespace ropesweep::backend::cuda {

namespace {

constexpr int kThreads = 256;

/// A block copies a row of `width` elements.
template <int V, typename T>
__device__ __forceinline__ void copy_row(T* to, const T* from, int64_t width) {
  for (int64_t i = threadIdx.x * V; i < width; i += kThreads * V) {
    float x[V];
    load(from + i, x);
    store(x, to + i);
  }
}

template <typename T, int V>
__global__ void __launch_bounds__(kThreads)
    gather_kernel(T* out, const T* table, const int32_t* ids, int64_t width) {
  copy_row<V>(out + int64_t{blockIdx.x} * width, table + int64_t{ids[blockIdx.x]} * width, width);
}

template <typename T, int V>
__global__ void __launch_bounds__(kThreads)
    scatter_kernel(T* table, const T* rows, const int32_t* ids, int64_t width) {
  copy_row<V>(table + int64_t{ids[blockIdx.x]} * width, rows + int64_t{blockIdx.x} * width, width);
}

__global__ void __launch_bounds__(kThreads) number_kernel(int32_t* numbers, int64_t count) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < count) numbers[i] = static_cast<int32_t>(i);
}

/// A block at each place of the sorted ids; that at the first place of an id adds all its rows.
template <typename T, int V>
__global__ void __launch_bounds__(kThreads)
    add_segments_kernel(float* d_table, const T* d_out, const int32_t* ids, const int32_t* rows,
                        int64_t count, int64_t width) {
  const int64_t first = blockIdx.x;
  const int32_t id = ids[first];
  if (first > 0 && ids[first - 1] == id) return;
  float* to = d_table + int64_t{id} * width;
  for (int64_t i = threadIdx.x * V; i < width; i += kThreads * V) {
    float sum[V];
    load(to + i, sum);
    for (int64_t place = first; place < count && ids[place] == id; ++place) {
      float x[V];
      load(d_out + int64_t{rows[place]} * width + i, x);
      for (int n = 0; n < V; ++n) sum[n] += x[n];
    }
    store(sum, to + i);
  }
}

}  // namespace

void CudaBackend::embedding(const Tensor& out, const Tensor& table, const Tensor& ids) {
  const int64_t width = table.dim(1);
  with_type(table.dtype(), [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    with_width(takes_vectors(width, {out.raw(), table.raw()}), [&](auto v) {
      launch({stream_, dim3(static_cast<unsigned>(ids.elements())), kThreads}, gather_kernel<T, v>,
             out.data<T>(), table.data<T>(), ids.data<int32_t>(), width);
    });
  });
}

void CudaBackend::scatter(const Tensor& table, const Tensor& rows, const Tensor& ids) {
  const int64_t width = table.dim(1);
  with_type(table.dtype(), [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    with_width(takes_vectors(width, {table.raw(), rows.raw()}), [&](auto v) {
      launch({stream_, dim3(static_cast<unsigned>(ids.elements())), kThreads}, scatter_kernel<T, v>,
             table.data<T>(), rows.data<T>(), ids.data<int32_t>(), width);
    });
  });
}

void CudaBackend::embedding_backward(const Tensor& d_table, const Tensor& d_out,
                                     const Tensor& ids) {
  const int64_t count = ids.elements(), width = d_table.dim(1);
  if (count == 0) return;
  const Tensor rows = allocate(Dtype::i32, {count});
  const Tensor sorted_ids = allocate(Dtype::i32, {count});
  const Tensor sorted_rows = allocate(Dtype::i32, {count});
  launch({stream_, blocks_for(count, kThreads), kThreads}, number_kernel, rows.data<int32_t>(),
         count);
  const SortCall sort{ids.data<int32_t>(), rows.data<int32_t>(), sorted_ids.data<int32_t>(),
                      sorted_rows.data<int32_t>(), count};
  const std::shared_ptr<void> storage = scratch(sort_bytes(count));
  sort_pairs(sort, storage.get(), sort_bytes(count), stream_);
  with_type(d_out.dtype(), [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    with_width(takes_vectors(width, {d_table.raw(), d_out.raw()}), [&](auto v) {
      launch({stream_, dim3(static_cast<unsigned>(count)), kThreads}, add_segments_kernel<T, v>,
             d_table.data<float>(), d_out.data<T>(), sorted_ids.data<int32_t>(),
             sorted_rows.data<int32_t>(), count, width);
    });
  });
}

}  // namespace ropesweep::backend::cuda
