// Rotary position encoding in the rotate-half layout, and its transpose for the backward pass.
//
// Letters: R rows · H heads · K head dimension · P pairs ≤ K/2; T tokens of a sequence. Of pair
// (a, b) = elements i and i + P:  (a, b) → (a·cos − b·sin, b·cos + a·sin); transposed: sin with the
// other sign.
#include "worker/backend/cuda/cuda_backend.h"
#include "worker/backend/cuda/launch.h"

namespace ropesweep::backend::cuda {

namespace {

constexpr int kThreads = 256;

struct RopeShape {
  int64_t first_row, tokens;
  int heads, head_dim, pairs;
};

/// A block takes a row; a thread V neighbouring pairs of a head at a time, or the unrotated end of
/// one. `out` may be `x`.
template <typename T, int V>
__global__ void __launch_bounds__(kThreads)
    rope_kernel(T* out, const T* x, const float* cosines, const float* sines, RopeShape s,
                float sign) {
  const int items = s.pairs / V + (2 * s.pairs < s.head_dim ? 1 : 0);
  const int64_t row_at = int64_t{blockIdx.x} * s.heads * s.head_dim;
  const int64_t angles = (s.first_row + blockIdx.x % s.tokens) * s.pairs;
  for (int index = static_cast<int>(threadIdx.x); index < s.heads * items;
       index += static_cast<int>(blockDim.x)) {
    const int head = index / items, item = index % items;
    const int64_t at = row_at + head * s.head_dim;
    if (item == s.pairs / V) {
      for (int i = 2 * s.pairs; i < s.head_dim; ++i) out[at + i] = x[at + i];
      continue;
    }
    const int i = item * V;
    float a[V], b[V], c[V], d[V];
    load(x + at + i, a);
    load(x + at + i + s.pairs, b);
    load(cosines + angles + i, c);
    load(sines + angles + i, d);
    ROPESWEEP_UNROLL
    for (int n = 0; n < V; ++n) {
      const float first = a[n], second = b[n], sine = sign * d[n];
      a[n] = first * c[n] - second * sine;
      b[n] = second * c[n] + first * sine;
    }
    store(a, out + at + i);
    store(b, out + at + i + s.pairs);
  }
}

void rotate(cudaStream_t stream, const Tensor& out, const Tensor& x, const RopeTensors& table,
            int64_t first_row, int64_t tokens, float sign) {
  const RopeShape shape{first_row, tokens, static_cast<int>(x.dim(1)), static_cast<int>(x.dim(2)),
                        static_cast<int>(table.cos.dim(1))};
  if (x.elements() == 0) return;
  const bool vectors =
      shape.head_dim % kVector == 0 &&
      takes_vectors(shape.pairs, {out.raw(), x.raw(), table.cos.raw(), table.sin.raw()});
  with_type(x.dtype(), [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    with_width(vectors, [&](auto width) {
      const int64_t items = x.dim(1) * ceil_div(shape.head_dim, 2 * width);
      const int64_t threads = std::min<int64_t>(kThreads, ceil_div(items, kWarp) * kWarp);
      launch({stream, dim3(static_cast<unsigned>(x.dim(0))), dim3(static_cast<unsigned>(threads))},
             rope_kernel<T, width>, out.data<T>(), x.data<T>(), table.cos.data<float>(),
             table.sin.data<float>(), shape, sign);
    });
  });
}

}  // namespace

void CudaBackend::rope(const Tensor& out, const Tensor& x, const RopeTensors& table,
                       int64_t first_row, int64_t tokens) {
  rotate(stream_, out, x, table, first_row, tokens, 1.0f);
}

void CudaBackend::rope_backward(const Tensor& d_x, const Tensor& d_out, const RopeTensors& table,
                                int64_t first_row, int64_t tokens) {
  rotate(stream_, d_x, d_out, table, first_row, tokens, -1.0f);
}

}  // namespace ropesweep::backend::cuda
