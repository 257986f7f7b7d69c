// The CPU backend's storage: blocks are kept when their last tensor goes and are used again, so
// that a training step allocates nothing after the first one.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <mutex>

namespace ropesweep::backend::cpu {

/// Thread-safe. Blocks begin at multiples of 64 bytes, those from 2 MiB at multiples of a huge
/// page.
class MemoryPool : public std::enable_shared_from_this<MemoryPool> {
 public:
  MemoryPool() = default;
  ~MemoryPool();
  MemoryPool(const MemoryPool&) = delete;
  MemoryPool& operator=(const MemoryPool&) = delete;

  /// At least `bytes` bytes, uninitialised; the pool lives as long as its last block.
  /// Errors: std::bad_alloc, after all unused blocks were given back.
  std::shared_ptr<void> allocate(size_t bytes);

  size_t bytes_in_use() const;
  size_t peak_bytes() const;

 private:
  struct Block {
    void* data = nullptr;
    size_t bytes = 0;
  };
  Block take(size_t bytes);
  void give_back(Block block);
  void release_unused();

  mutable std::mutex mutex_;
  std::multimap<size_t, void*> unused_;
  size_t unused_bytes_ = 0;
  size_t in_use_ = 0;
  size_t peak_ = 0;
};

/// Scratch of the calling thread, at least `bytes`, 64-byte aligned, uninitialised; valid until the
/// thread asks for the same slot again. Slots keep callers that nest apart.
enum class Slot { matmul, queries, scores, probabilities, tile_a, tile_b, tile_c, count };
void* thread_scratch(Slot slot, size_t bytes);

}  // namespace ropesweep::backend::cpu
