// The CUDA backend as a whole: its device, memory, transfers.
#include "worker/backend/cuda/cuda_backend.h"

#include <vector>

#include "worker/backend/cpu/cpu_backend.h"
#include "worker/backend/cuda/make_backend.h"
#include "worker/backend/cuda/runtime.h"

namespace ropesweep::backend::cuda {

namespace {

/// cudaMalloc's blocks for the pool.
class DeviceMemory final : public RawMemory {
 public:
  void* allocate(size_t bytes) override {
    void* data = nullptr;
    const cudaError_t error = cudaMalloc(&data, bytes);
    if (error == cudaErrorMemoryAllocation) {
      static_cast<void>(cudaGetLastError());  // it is not sticky
      return nullptr;
    }
    check(error, "allocating memory");
    return data;
  }
  void release(void* data, size_t) override { static_cast<void>(cudaFree(data)); }
};

}  // namespace

CudaBackend::CudaBackend(int device, Attention attention) : device_(device) {
  const int count = device_count();
  if (device < 0 || device >= count) {
    throw NoDevice("no CUDA device " + std::to_string(device) + " here, " + std::to_string(count) +
                   " visible");
  }
  check(cudaSetDevice(device), "choosing the device");
  cudaDeviceProp properties;
  check(cudaGetDeviceProperties(&properties, device), "asking for the device's properties");
  name_ = std::string(properties.name) + ", sm_" + std::to_string(properties.major) +
          std::to_string(properties.minor);
  capacity_ = properties.totalGlobalMem;
  check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "making a stream");
  pool_ = std::make_shared<MemoryPool>(std::make_unique<DeviceMemory>());
  staging_ = std::make_unique<Staging>(stream_);
  products_ = std::make_unique<Products>(stream_);
  if (attention == Attention::fused_where_possible) {
    fused_attention_ = std::make_unique<CudnnAttention>(stream_, pool_);
  }
}

CudaBackend::~CudaBackend() {
  static_cast<void>(cudaSetDevice(device_));
  static_cast<void>(cudaStreamSynchronize(stream_));
  fused_attention_.reset();
  products_.reset();
  staging_.reset();
  static_cast<void>(cudaStreamDestroy(stream_));
}

std::string CudaBackend::description() const {
  return "cuda (" + name_ +
         ", attention: " + (fused_attention_ ? fused_attention_->description() : "own kernels") +
         ")";
}

void CudaBackend::use_device() const {
  if (recorded_memory_) return;  // record() has chosen it
  check(cudaSetDevice(device_), "choosing the device");
}

Tensor CudaBackend::allocate(Dtype dtype, Shape shape) {
  use_device();
  int64_t elements = 1;
  for (const int64_t extent : shape) elements *= extent;
  // All ops are on one stream: a block that is given out again is written after its last reader.
  auto storage = scratch(static_cast<size_t>(elements) * size_of(dtype));
  void* data = storage.get();
  return {dtype, std::move(shape), std::move(storage), data};
}

void CudaBackend::upload(const Tensor& to, const void* from) {
  use_device();
  staging_->to_device(to.raw(), from, to.bytes());
}

void CudaBackend::download(void* to, const Tensor& from) {
  if (from.bytes() == 0) return synchronize();
  use_device();
  staging_->to_host(to, from.raw(), from.bytes());
}

void CudaBackend::zero(const Tensor& x) {
  use_device();
  if (x.bytes() == 0) return;
  check(cudaMemsetAsync(x.raw(), 0, x.bytes(), stream_), "clearing a tensor");
}

/// Made on the host, so that they are the CPU's to the bit: only fresh weights need them.
void CudaBackend::random_normal(const Tensor& x, uint64_t seed, uint64_t stream, float deviation) {
  cpu::CpuBackend host(0);
  const Tensor made = host.allocate(x.dtype(), x.shape());
  host.random_normal(made, seed, stream, deviation);
  upload(x, made.raw());
}

void CudaBackend::synchronize() {
  use_device();
  check(cudaStreamSynchronize(stream_), "waiting for the device");
}

int device_count() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
}

std::unique_ptr<Backend> make_backend(int device) { return std::make_unique<CudaBackend>(device); }

}  // namespace ropesweep::backend::cuda
