// The sort by CUB, which comes with the CUDA toolkit.
#include <cub/device/device_radix_sort.cuh>

#include "worker/backend/cuda/runtime.h"
#include "worker/backend/cuda/sort.h"

namespace ropesweep::backend::cuda {

namespace {
constexpr int kBits = 31;  // keys are not negative
}

size_t sort_bytes(int64_t count) {
  const int32_t* in = nullptr;
  int32_t* out = nullptr;
  size_t bytes = 0;
  check(cub::DeviceRadixSort::SortPairs(nullptr, bytes, in, out, in, out, count, 0, kBits),
        "sizing a sort");
  return bytes;
}

void sort_pairs(const SortCall& call, void* storage, size_t bytes, cudaStream_t stream) {
  check(cub::DeviceRadixSort::SortPairs(storage, bytes, call.keys, call.sorted_keys, call.values,
                                        call.sorted_values, call.count, 0, kBits, stream),
        "sorting");
}

}  // namespace ropesweep::backend::cuda
