// The host's storage: aligned blocks for the pool, and scratch of threads.
#pragma once

#include <cstddef>

#include "worker/backend/memory_pool.h"

namespace ropesweep::backend::cpu {

/// Blocks begin at multiples of 64 bytes, those from 2 MiB at multiples of a huge page.
class HostMemory final : public RawMemory {
 public:
  void* allocate(size_t bytes) override;
  void release(void* data, size_t bytes) override;
};

/// Scratch of the calling thread, at least `bytes`, 64-byte aligned, uninitialised; valid until the
/// thread asks for the same slot again. Slots keep callers that nest apart.
enum class Slot { matmul, queries, scores, probabilities, tile_a, tile_b, tile_c, count };
void* thread_scratch(Slot slot, size_t bytes);

}  // namespace ropesweep::backend::cpu
