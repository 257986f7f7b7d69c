// A stable sort of pairs on the device: CUB's radix sort (sort.cu), or the host's where the device
// is emulated.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

namespace ropesweep::backend::cuda {

struct SortCall {
  const int32_t* keys = nullptr;  ///< not negative
  const int32_t* values = nullptr;
  int32_t* sorted_keys = nullptr;
  int32_t* sorted_values = nullptr;
  int64_t count = 0;
};

/// Bytes of storage that sort_pairs needs for `count` pairs.
size_t sort_bytes(int64_t count);
/// Errors: DeviceError.
void sort_pairs(const SortCall& call, void* storage, size_t bytes, cudaStream_t stream);

}  // namespace ropesweep::backend::cuda
