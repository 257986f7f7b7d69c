// A CUDA device made of the host, for tests: the part of the CUDA runtime's interface that
// worker/backend/cuda uses, so that the same sources compile and run without a GPU. A block's
// threads are fibres on one thread of the host; blocks run one after another.
//
// What it shows that a GPU would not: a barrier that only some threads reach ends the program with
// a message, reads past an allocation are seen by the address sanitizer, and the order in which
// threads run between barriers can be reversed, so that a forgotten barrier changes a result. While
// a stream is captured nothing runs, and what a device refuses then is refused (cuda_runtime.cpp).
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __restrict__
#define __launch_bounds__(...)
#define __shared__ static
#define __align__(n) alignas(n)

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  dim3() = default;
  dim3(unsigned x_, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};

using cudaStream_t = struct EmulatedStream*;

namespace cuda_emulation {

/// Does `work` now, or, when the stream is being captured, in each run of the graph.
void submit(cudaStream_t stream, std::function<void()> work);

/// What the running fibre sees of itself.
struct Place {
  dim3 thread, block, block_size, grid_size;
};
extern Place place;
extern std::byte* shared;  ///< dynamic shared memory of the running block

/// Runs `body` as every thread of every block.
void launch(dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()>& body);

/// Threads of a block run in reverse order between barriers from now on.
void reverse_order(bool reverse);

void block_barrier();
/// Lane `source`'s `value` (8 bytes at most), once all lanes of the warp that still run are here.
uint64_t exchange(uint64_t value, unsigned source);
/// The sum of bits: bit l is set when lane l said true.
unsigned vote(bool value);
unsigned lane();

template <typename T>
T exchanged(T value, unsigned source) {
  static_assert(sizeof(T) <= sizeof(uint64_t));
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  bits = exchange(bits, source);
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

}  // namespace cuda_emulation

#define threadIdx (cuda_emulation::place.thread)
#define blockIdx (cuda_emulation::place.block)
#define blockDim (cuda_emulation::place.block_size)
#define gridDim (cuda_emulation::place.grid_size)

inline void __syncthreads() { cuda_emulation::block_barrier(); }
inline void __syncwarp(unsigned = ~0u) { cuda_emulation::vote(true); }
template <typename T>
T __shfl_xor_sync(unsigned, T value, int mask) {
  return cuda_emulation::exchanged(value, cuda_emulation::lane() ^ static_cast<unsigned>(mask));
}
template <typename T>
T __shfl_down_sync(unsigned, T value, unsigned delta) {
  const unsigned source = cuda_emulation::lane() + delta;
  return cuda_emulation::exchanged(value, source < 32 ? source : cuda_emulation::lane());
}
template <typename T>
T __shfl_sync(unsigned, T value, int source) {
  return cuda_emulation::exchanged(value, static_cast<unsigned>(source) & 31u);
}
inline unsigned __ballot_sync(unsigned, int predicate) {
  return cuda_emulation::vote(predicate != 0);
}

inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }

// --- the runtime: one device, its memory is the host's, every call is over when it returns
// --------
using cudaEvent_t = struct EmulatedEvent*;
using cudaGraph_t = struct EmulatedGraph*;
using cudaGraphExec_t = struct EmulatedGraph*;
enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInvalidDevice = 101,
  cudaErrorStreamCaptureUnsupported = 900,
  cudaErrorStreamCaptureInvalidated = 901,
};
enum cudaStreamCaptureMode { cudaStreamCaptureModeThreadLocal = 1 };
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize };
constexpr unsigned cudaStreamNonBlocking = 1, cudaEventDisableTiming = 2;

struct cudaDeviceProp {
  char name[64] = "emulated";
  int major = 0, minor = 0, multiProcessorCount = 2;
  size_t totalGlobalMem = size_t{1} << 30;
};

const char* cudaGetErrorString(cudaError_t error);
cudaError_t cudaGetLastError();
cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device);
cudaError_t cudaMemGetInfo(size_t* free_bytes, size_t* total);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaMalloc(void** data, size_t bytes);
cudaError_t cudaFree(void* data);
cudaError_t cudaMallocHost(void** data, size_t bytes);
cudaError_t cudaFreeHost(void* data);
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream);
cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream);
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph);
cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t* exec, cudaGraph_t graph,
                                          unsigned long long flags);
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
template <typename Kernel>
cudaError_t cudaFuncSetAttribute(Kernel, cudaFuncAttribute, int) {
  return cudaSuccess;
}
