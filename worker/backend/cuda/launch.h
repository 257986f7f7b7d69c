// Launching kernels, the choices that kernels' templates need, and sums over a block in a fixed
// order.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstddef>
#include <initializer_list>

#include "worker/backend/cuda/numbers.h"
#include "worker/backend/cuda/runtime.h"
#include "worker/backend/tensor.h"

namespace ropesweep::backend::cuda {

constexpr unsigned kWarp = 32;
constexpr unsigned kAllLanes = 0xFFFFFFFFu;

struct Launch {
  cudaStream_t stream = nullptr;
  dim3 grid, block;
  size_t shared_bytes = 0;
};

/// More dynamic shared memory than this has to be asked for.
constexpr size_t kPlainSharedBytes = size_t{48} << 10;

/// Errors: Error(transient) "cuda: KERNEL …" when the launch is refused.
template <typename... Parameters, typename... Arguments>
void launch(const Launch& where, void (*kernel)(Parameters...), Arguments... arguments) {
  if (where.grid.x == 0 || where.grid.y == 0 || where.grid.z == 0) return;
  if (where.shared_bytes > kPlainSharedBytes) {
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(where.shared_bytes)),
          "shared memory of a kernel");
  }
#ifdef __CUDACC__
  kernel<<<where.grid, where.block, where.shared_bytes, where.stream>>>(
      static_cast<Parameters>(arguments)...);
  check(cudaGetLastError(), "launching a kernel");
#else
  cuda_emulation::submit(where.stream, [=] {
    cuda_emulation::launch(where.grid, where.block, where.shared_bytes,
                           [&] { kernel(static_cast<Parameters>(arguments)...); });
  });
#endif
}

/// Dynamic shared memory of the block.
template <typename T>
__device__ __forceinline__ T* shared_memory() {
#ifdef __CUDACC__
  extern __shared__ uint4 block_memory[];
  return reinterpret_cast<T*>(block_memory);
#else
  return reinterpret_cast<T*>(cuda_emulation::shared);
#endif
}

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// Blocks of `threads` for `count` threads.
inline dim3 blocks_for(int64_t count, int64_t threads) {
  return dim3(static_cast<unsigned>(ceil_div(count, threads)));
}

/// Whether rows of `width` elements at these addresses can be taken kVector elements at a time.
inline bool takes_vectors(int64_t width, std::initializer_list<const void*> pointers) {
  return width % kVector == 0 && std::all_of(pointers.begin(), pointers.end(), [](const void* p) {
           return reinterpret_cast<uintptr_t>(p) % 16 == 0;
         });
}

/// Calls `body` with a null pointer of the element type.
template <typename Body>
void with_type(Dtype dtype, Body body) {
  dtype == Dtype::f32 ? body(static_cast<float*>(nullptr)) : body(static_cast<Bf16*>(nullptr));
}

/// Calls `body` with std::integral_constant of 1 or kVector.
template <typename Body>
void with_width(bool vectors, Body body) {
  vectors ? body(std::integral_constant<int, kVector>()) : body(std::integral_constant<int, 1>());
}

template <typename T>
__device__ __forceinline__ T warp_sum(T value) {
  for (int offset = 16; offset > 0; offset /= 2) {
    value += __shfl_xor_sync(kAllLanes, value, offset);
  }
  return value;
}

__device__ __forceinline__ float warp_max(float value) {
  for (int offset = 16; offset > 0; offset /= 2) {
    const float other = __shfl_xor_sync(kAllLanes, value, offset);
    value = other > value ? other : value;
  }
  return value;
}

/// The sum over a block of whole warps, at most 32, for every thread; `slots` [33] in shared
/// memory.
template <typename T>
__device__ __forceinline__ T block_sum(T value, T* slots) {
  const unsigned warps = blockDim.x / kWarp, warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  value = warp_sum(value);
  __syncthreads();  // slots may still be read from the last call
  if (lane == 0) slots[warp] = value;
  __syncthreads();
  if (warp == 0) {
    const T sum = warp_sum(lane < warps ? slots[lane] : T(0));
    if (lane == 0) slots[32] = sum;
  }
  __syncthreads();
  return slots[32];
}

__device__ __forceinline__ float block_max(float value, float* slots) {
  const unsigned warps = blockDim.x / kWarp, warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  value = warp_max(value);
  __syncthreads();
  if (lane == 0) slots[warp] = value;
  __syncthreads();
  if (warp == 0) {
    const float most = warp_max(slots[lane < warps ? lane : 0]);
    if (lane == 0) slots[32] = most;
  }
  __syncthreads();
  return slots[32];
}

}  // namespace ropesweep::backend::cuda
