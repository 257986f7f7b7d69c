// A pool within the pool, and the list of what was taken from it.
#include "worker/backend/cuda/recorded_memory.h"

#include <new>
#include <stdexcept>
#include <utility>

namespace ropesweep::backend::cuda {

namespace {

/// Blocks of another pool, all kept to the end: the graph knows them, even those that the pool
/// above would give back.
class Borrowed final : public RawMemory {
 public:
  explicit Borrowed(std::shared_ptr<MemoryPool> from) : from_(std::move(from)) {}

  void* allocate(size_t bytes) override {
    try {
      return kept_.emplace_back(from_->allocate(bytes)).get();
    } catch (const std::bad_alloc&) {
      return nullptr;
    }
  }
  void release(void*, size_t) override {}

 private:
  std::shared_ptr<MemoryPool> from_;
  std::vector<std::shared_ptr<void>> kept_;
};

}  // namespace

RecordedMemory::RecordedMemory(std::shared_ptr<MemoryPool> pool)
    : blocks_(std::make_shared<MemoryPool>(std::make_unique<Borrowed>(std::move(pool)))) {}

std::shared_ptr<void> RecordedMemory::allocate(size_t bytes) {
  if (!again_) {
    std::shared_ptr<void> block = blocks_->allocate(bytes);
    requests_.push_back({bytes, block.get()});
    return block;
  }
  if (next_ == requests_.size() || requests_[next_].bytes != bytes) {
    throw std::logic_error("record: the work took other storage the second time");
  }
  return {shared_from_this(), requests_[next_++].data};
}

}  // namespace ropesweep::backend::cuda
