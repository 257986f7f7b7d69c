// Dropout: out = x · mask / (1 − p), and since the mask is drawn anew from its place, its own
// gradient.
#include "worker/backend/dropout.h"

#include <algorithm>
#include <array>

#include "worker/backend/cpu/bf16.h"
#include "worker/backend/cpu/cpu_backend.h"
#include "worker/backend/cpu/parallel.h"

namespace ropesweep::backend::cpu {

namespace {

constexpr int64_t kGrain = 4096;
/// Factors at a time; a multiple of what one call of Philox serves.
constexpr int kRun = 64;

template <typename T>
void drop(T* out, const T* x, int64_t first, int64_t last, const DropoutMask& mask) {
  std::array<float, kRun> factors;
  for (int64_t run = first; run < last; run += kRun) {
    const int count = static_cast<int>(std::min<int64_t>(kRun, last - run));
    mask.factors(static_cast<uint64_t>(run), count, factors.data());
    for (int i = 0; i < count; ++i) {
      // What is dropped is 0 whatever it was.
      const float factor = factors[static_cast<size_t>(i)];
      from_float(factor == 0 ? 0.0F : to_float(x[run + i]) * factor, out[run + i]);
    }
  }
}

}  // namespace

void CpuBackend::dropout(const Tensor& out, const Tensor& x, const Dropout& settings) {
  const DropoutMask mask = dropout_mask(settings);
  parallel_ranges(threads_, x.elements(), kGrain, [&](int64_t first, int64_t last) {
    if (x.dtype() == Dtype::f32) {
      drop(out.data<float>(), x.data<float>(), first, last, mask);
    } else {
      drop(out.data<Bf16>(), x.data<Bf16>(), first, last, mask);
    }
  });
}

}  // namespace ropesweep::backend::cpu
