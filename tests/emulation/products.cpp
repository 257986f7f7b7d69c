// cuBLASLt's part on the emulated device: plain loops, sums in f32.
#include "worker/backend/cuda/products.h"

#include "worker/backend/cuda/numbers.h"

namespace ropesweep::backend::cuda {

struct Products::State {
  cudaStream_t stream;
};

Products::Products(cudaStream_t stream) : state_(std::make_unique<State>(stream)) {}
Products::~Products() = default;

namespace {

template <typename T, typename C>
void multiply(const ProductCall& call) {
  const auto* a = static_cast<const T*>(call.a);
  const auto* b = static_cast<const T*>(call.b);
  auto* c = static_cast<C*>(call.c);
  for (int64_t i = 0; i < call.m; ++i) {
    for (int64_t j = 0; j < call.n; ++j) {
      float sum = call.accumulate ? to_float(c[i * call.n + j]) : 0.0f;
      for (int64_t l = 0; l < call.k; ++l) {
        sum += to_float(a[call.transpose_a ? l * call.m + i : i * call.k + l]) *
               to_float(b[call.transpose_b ? j * call.k + l : l * call.n + j]);
      }
      from_float(sum, c[i * call.n + j]);
    }
  }
}

void multiply_any(const ProductCall& call) {
  if (call.dtype == Dtype::f32) {
    multiply<float, float>(call);
  } else if (call.c_dtype == Dtype::f32) {
    multiply<Bf16, float>(call);
  } else {
    multiply<Bf16, Bf16>(call);
  }
}

}  // namespace

void Products::run(const ProductCall& call) {
  cuda_emulation::submit(state_->stream, [call] { multiply_any(call); });
}

}  // namespace ropesweep::backend::cuda
