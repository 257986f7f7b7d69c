// Aligned blocks of the host, in huge pages where they are large.
#include "worker/backend/cpu/memory.h"

#include <sys/mman.h>
#include <sys/resource.h>

#include <array>
#include <cstdlib>
#include <memory>
#include <new>

namespace ropesweep::backend::cpu {

namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kHugePage = size_t{2} << 20;
/// Of a limited address space (ulimit -v), left to libraries: oneDNN ends the process when it can't
/// have a small block.
constexpr size_t kForLibraries = size_t{48} << 20;

bool leaves_room() {
  rlimit limit = {};
  if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return true;
  void* room = mmap(nullptr, kForLibraries, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return room != MAP_FAILED && munmap(room, kForLibraries) == 0;
}

void* aligned_block(size_t bytes) {
  const size_t alignment = bytes >= kHugePage ? kHugePage : kAlignment;
  void* data = nullptr;
  if (posix_memalign(&data, alignment, bytes) != 0) return nullptr;
  if (bytes < kHugePage) return data;
  if (!leaves_room()) {
    std::free(data);
    return nullptr;
  }
  madvise(data, bytes, MADV_HUGEPAGE);  // advice only: failure is harmless
  return data;
}

}  // namespace

void* HostMemory::allocate(size_t bytes) { return aligned_block(bytes); }

void HostMemory::release(void* data, size_t /*bytes*/) { std::free(data); }

void* thread_scratch(Slot slot, size_t bytes) {
  struct Free {
    void operator()(void* data) const { std::free(data); }
  };
  struct Buffer {
    std::unique_ptr<void, Free> data;
    size_t bytes = 0;
  };
  thread_local std::array<Buffer, static_cast<size_t>(Slot::count)> buffers;
  Buffer& buffer = buffers[static_cast<size_t>(slot)];
  if (buffer.bytes < bytes) {
    buffer.data.reset();
    buffer.bytes = 0;
    buffer.data.reset(aligned_block(bytes));
    if (buffer.data == nullptr) throw std::bad_alloc();
    buffer.bytes = bytes;
  }
  return buffer.data.get();
}

}  // namespace ropesweep::backend::cpu
