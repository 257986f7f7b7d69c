// Blocks of storage, kept for reuse.
#include "worker/backend/memory_pool.h"

#include <algorithm>
#include <new>

namespace ropesweep::backend {

namespace {

constexpr size_t kAlignment = 64;

/// Sizes in steps of an eighth of their power of two, so that nearly equal requests share blocks.
size_t rounded(size_t bytes) {
  size_t step = kAlignment;
  while (step * 16 <= bytes) step *= 2;
  return std::max(step, (bytes + step - 1) / step * step);
}

}  // namespace

MemoryPool::~MemoryPool() { release_unused(); }

std::shared_ptr<void> MemoryPool::allocate(size_t bytes) {
  const Block block = take(rounded(std::max<size_t>(bytes, 1)));
  auto self = shared_from_this();
  return {block.data, [self, block](void*) { self->give_back(block); }};
}

MemoryPool::Block MemoryPool::take(size_t bytes) {
  const std::lock_guard lock(mutex_);
  Block block{nullptr, bytes};
  const auto found = unused_.lower_bound(bytes);
  if (found != unused_.end() && found->first <= bytes + bytes / 2) {
    block = {found->second, found->first};
    unused_bytes_ -= found->first;
    unused_.erase(found);
  } else {
    // Blocks left over from other shapes must not pile up beside the new ones.
    if (unused_bytes_ > (size_t{64} << 20) + in_use_ / 2) release_unused();
    block.data = raw_->allocate(bytes);
    if (block.data == nullptr) {
      release_unused();
      block.data = raw_->allocate(bytes);
    }
    if (block.data == nullptr) throw std::bad_alloc();
  }
  in_use_ += block.bytes;
  peak_ = std::max(peak_, in_use_);
  return block;
}

void MemoryPool::give_back(Block block) {
  const std::lock_guard lock(mutex_);
  in_use_ -= block.bytes;
  unused_.emplace(block.bytes, block.data);
  unused_bytes_ += block.bytes;
}

void MemoryPool::release_unused() {
  for (const auto& [bytes, data] : unused_) raw_->release(data, bytes);
  unused_.clear();
  unused_bytes_ = 0;
}

size_t MemoryPool::bytes_in_use() const {
  const std::lock_guard lock(mutex_);
  return in_use_;
}

size_t MemoryPool::peak_bytes() const {
  const std::lock_guard lock(mutex_);
  return peak_;
}

}  // namespace ropesweep::backend
