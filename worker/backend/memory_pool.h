// A backend's storage: blocks are kept when their last tensor goes and are used again, so that a
// training step allocates nothing after the first one.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <utility>

namespace ropesweep::backend {

/// Where a pool's blocks come from.
class RawMemory {
 public:
  virtual ~RawMemory() = default;
  /// Null when there is no more.
  virtual void* allocate(size_t bytes) = 0;
  virtual void release(void* data, size_t bytes) = 0;
};

/// Thread-safe.
class MemoryPool : public std::enable_shared_from_this<MemoryPool> {
 public:
  explicit MemoryPool(std::unique_ptr<RawMemory> raw) : raw_(std::move(raw)) {}
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

  std::unique_ptr<RawMemory> raw_;
  mutable std::mutex mutex_;
  std::multimap<size_t, void*> unused_;
  size_t unused_bytes_ = 0;
  size_t in_use_ = 0;
  size_t peak_ = 0;
};

}  // namespace ropesweep::backend
