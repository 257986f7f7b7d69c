// Allocation, transfers between host and tensors, and conversion between f32 and bf16.
#include <cstring>

#include "worker/backend/cpu/cpu_backend.h"
#include "worker/backend/cpu/parallel.h"
#include "worker/backend/cpu/simd.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "worker/backend/cpu/transfers.cpp"
#include <hwy/foreach_target.h>
// Order matters: after foreach_target.h.
#include "worker/backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ropesweep::backend::cpu {
namespace HWY_NAMESPACE {

void widen(float* to, const Bf16* from, int64_t count) {
  for_lanes(static_cast<size_t>(count),
            [&](auto d, size_t i) { store(load(d, from + i), d, to + i); });
}

void narrow(Bf16* to, const float* from, int64_t count) {
  for_lanes(static_cast<size_t>(count),
            [&](auto d, size_t i) { store(load(d, from + i), d, to + i); });
}

}  // namespace HWY_NAMESPACE
}  // namespace ropesweep::backend::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ropesweep::backend::cpu {

namespace {

HWY_EXPORT(widen);
HWY_EXPORT(narrow);

constexpr int64_t kGrain = 16384;

/// Bytes are copied by all threads, since one core doesn't fill the memory's bandwidth.
void copy_bytes(int threads, void* to, const void* from, size_t bytes) {
  parallel_ranges(
      threads, static_cast<int64_t>(bytes), 4 * kGrain, [&](int64_t first, int64_t last) {
        std::memcpy(static_cast<std::byte*>(to) + first,
                    static_cast<const std::byte*>(from) + first, static_cast<size_t>(last - first));
      });
}

}  // namespace

Tensor CpuBackend::allocate(Dtype dtype, Shape shape) {
  size_t elements = 1;
  for (const int64_t extent : shape) {
    elements *= static_cast<size_t>(extent);
  }
  auto storage = pool_->allocate(elements * size_of(dtype));
  void* data = storage.get();
  return Tensor(dtype, std::move(shape), std::move(storage), data);
}

void CpuBackend::upload(const Tensor& to, const void* from) {
  copy_bytes(threads_, to.raw(), from, to.bytes());
}

void CpuBackend::download(void* to, const Tensor& from) {
  copy_bytes(threads_, to, from.raw(), from.bytes());
}

void CpuBackend::zero(const Tensor& x) {
  parallel_ranges(threads_, static_cast<int64_t>(x.bytes()), 4 * kGrain,
                  [&](int64_t first, int64_t last) {
                    std::memset(x.data<std::byte>() + first, 0, static_cast<size_t>(last - first));
                  });
}

void CpuBackend::copy(const Tensor& to, const Tensor& from) {
  if (to.dtype() == from.dtype()) {
    copy_bytes(threads_, to.raw(), from.raw(), to.bytes());
    return;
  }
  parallel_ranges(threads_, to.elements(), kGrain, [&](int64_t first, int64_t last) {
    if (to.dtype() == Dtype::f32) {
      HWY_DYNAMIC_DISPATCH(widen)
      (to.data<float>() + first, from.data<Bf16>() + first, last - first);
    } else {
      HWY_DYNAMIC_DISPATCH(narrow)
      (to.data<Bf16>() + first, from.data<float>() + first, last - first);
    }
  });
}

Tensor CpuBackend::converted(const Tensor& x, Dtype dtype) {
  Tensor result = allocate(dtype, x.shape());
  copy(result, x);
  return result;
}

}  // namespace ropesweep::backend::cpu
#endif  // HWY_ONCE
