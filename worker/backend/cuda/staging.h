// Two blocks of pinned host memory through which large copies go: while the device fetches one, the
// host fills the other (from a checkpoint mapped into memory, say), so that neither waits.
#pragma once

#include <cuda_runtime.h>

#include <array>
#include <cstddef>

namespace ropesweep::backend::cuda {

class Staging {
 public:
  explicit Staging(cudaStream_t stream) : stream_(stream) {}
  ~Staging();
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;

  /// Returns when `from` has been read; the device may still be at work on the last block.
  void to_device(void* to, const void* from, size_t bytes);
  /// Returns when all bytes are there.
  void to_host(void* to, const void* from, size_t bytes);

 private:
  /// A block that the device is done with. Pinned at the first use.
  struct Block {
    void* data = nullptr;
    cudaEvent_t done = nullptr;
  };
  Block& free_block(size_t number);

  cudaStream_t stream_;
  std::array<Block, 2> blocks_;
};

}  // namespace ropesweep::backend::cuda
