// Copies in pieces of a block, the two blocks in turn.
#include "worker/backend/cuda/staging.h"

#include <algorithm>
#include <cstring>

#include "worker/backend/cuda/runtime.h"

namespace ropesweep::backend::cuda {

namespace {

constexpr size_t kBlockBytes = size_t{8} << 20;

const std::byte* at(const void* data, size_t offset) {
  return static_cast<const std::byte*>(data) + offset;
}
std::byte* at(void* data, size_t offset) { return static_cast<std::byte*>(data) + offset; }

}  // namespace

Staging::~Staging() {
  for (const Block& block : blocks_) {
    if (block.data == nullptr) continue;
    static_cast<void>(cudaEventDestroy(block.done));
    static_cast<void>(cudaFreeHost(block.data));
  }
}

Staging::Block& Staging::free_block(size_t number) {
  Block& block = blocks_[number % blocks_.size()];
  if (block.data == nullptr) {
    check(cudaMallocHost(&block.data, kBlockBytes), "pinning host memory");
    check(cudaEventCreateWithFlags(&block.done, cudaEventDisableTiming), "making an event");
  } else {
    check(cudaEventSynchronize(block.done), "waiting for a copy");
  }
  return block;
}

void Staging::to_device(void* to, const void* from, size_t bytes) {
  for (size_t offset = 0, number = 0; offset < bytes; offset += kBlockBytes, ++number) {
    const size_t count = std::min(kBlockBytes, bytes - offset);
    Block& block = free_block(number);
    std::memcpy(block.data, at(from, offset), count);
    check(cudaMemcpyAsync(at(to, offset), block.data, count, cudaMemcpyHostToDevice, stream_),
          "copying to the device");
    check(cudaEventRecord(block.done, stream_), "recording an event");
  }
}

void Staging::to_host(void* to, const void* from, size_t bytes) {
  // Piece n is fetched while piece n − 1 is copied out.
  const size_t pieces = (bytes + kBlockBytes - 1) / kBlockBytes;
  for (size_t piece = 0; piece <= pieces; ++piece) {
    if (piece < pieces) {
      const size_t offset = piece * kBlockBytes;
      Block& block = free_block(piece);
      check(cudaMemcpyAsync(block.data, at(from, offset), std::min(kBlockBytes, bytes - offset),
                            cudaMemcpyDeviceToHost, stream_),
            "copying from the device");
      check(cudaEventRecord(block.done, stream_), "recording an event");
    }
    if (piece > 0) {
      const size_t offset = (piece - 1) * kBlockBytes;
      const Block& block = free_block(piece - 1);
      std::memcpy(at(to, offset), block.data, std::min(kBlockBytes, bytes - offset));
    }
  }
}

}  // namespace ropesweep::backend::cuda
