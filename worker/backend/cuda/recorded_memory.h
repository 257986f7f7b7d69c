// Storage of a recording's own: a graph reads and writes the addresses that it was recorded with,
// so these must be nobody else's as long as it lives, and nothing may be allocated while it is
// recorded.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "worker/backend/memory_pool.h"

namespace ropesweep::backend::cuda {

/// The pool alone won't do: it may serve the same requests otherwise the second time, from blocks
/// that the first time left, and come to need one more. Work is done twice: first its storage is
/// taken from the pool, with reuse among the work's own tensors; after rewind() the same requests
/// get the same addresses. All of it goes back to the pool together, when this ends.
class RecordedMemory : public std::enable_shared_from_this<RecordedMemory> {
 public:
  explicit RecordedMemory(std::shared_ptr<MemoryPool> pool);

  /// Errors: std::bad_alloc; std::logic_error when the second time differs from the first.
  std::shared_ptr<void> allocate(size_t bytes);
  void rewind() { again_ = true; }

 private:
  struct Request {
    size_t bytes = 0;
    void* data = nullptr;
  };
  std::shared_ptr<MemoryPool> blocks_;  ///< of this recording
  std::vector<Request> requests_;
  size_t next_ = 0;
  bool again_ = false;
};

}  // namespace ropesweep::backend::cuda
