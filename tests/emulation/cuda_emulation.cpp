// Fibres by Boost.Context; the scheduler goes round the block's threads until all have ended.
#include <sys/mman.h>

#include <algorithm>
#include <boost/context/continuation.hpp>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "cuda_runtime.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

namespace cuda_emulation {

Place place;
std::byte* shared = nullptr;

namespace {

namespace context = boost::context;

constexpr unsigned kWarp = 32;
constexpr size_t kStackBytes = size_t{256} << 10;

enum class Waits { no, block, warp, ended };

struct Fibre {
  context::continuation continuation;     ///< of the fibre, while the scheduler runs
  context::continuation* back = nullptr;  ///< of the scheduler, while the fibre runs
  dim3 thread;
  unsigned index = 0;
  Waits waits = Waits::no;
  unsigned exchanges = 0;  ///< warp operations so far: two sets of slots take turns
  void* fake_stack = nullptr;
};

/// Stacks are kept from block to block.
class Stacks {
 public:
  context::stack_context get(size_t index) {
    while (stacks_.size() <= index) {
      void* low = ::mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
      if (low == MAP_FAILED) {
        std::perror("cuda emulation: no memory for a stack");
        std::abort();
      }
      stacks_.push_back(low);
    }
    context::stack_context result;
    result.size = kStackBytes;
    result.sp = static_cast<std::byte*>(stacks_[index]) + kStackBytes;
    return result;
  }

 private:
  std::vector<void*> stacks_;
};

/// Boost.Context's allocator that leaves the stack to Stacks.
struct BorrowedStack {
  context::stack_context stack;
  context::stack_context allocate() { return stack; }
  void deallocate(context::stack_context&) {}
};

struct Block {
  std::vector<Fibre> fibres;
  std::vector<uint64_t> slots;  ///< [warp][2][32]
  const std::function<void()>* body = nullptr;
};

Stacks stacks;
Block block_now;
Fibre* running = nullptr;
bool reversed = false;

// The address sanitizer is told of each change of stacks.
void before_switch([[maybe_unused]] void** save, [[maybe_unused]] const void* bottom,
                   [[maybe_unused]] size_t size) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(save, bottom, size);
#endif
}
void after_switch([[maybe_unused]] void* saved, [[maybe_unused]] const void** bottom,
                  [[maybe_unused]] size_t* size) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(saved, bottom, size);
#endif
}

const void* scheduler_bottom = nullptr;
size_t scheduler_size = 0;

/// Leaves the running fibre until the scheduler comes back to it.
void yield(Waits why) {
  Fibre& self = *running;
  self.waits = why;
  before_switch(&self.fake_stack, scheduler_bottom, scheduler_size);
  *self.back = self.back->resume();
  after_switch(self.fake_stack, &scheduler_bottom, &scheduler_size);
}

void start(Fibre& fibre) {
  const context::stack_context stack = stacks.get(fibre.index);
  const context::preallocated place_on(stack.sp, stack.size, stack);
  fibre.continuation = context::callcc(
      std::allocator_arg, place_on, BorrowedStack{stack}, [&fibre](context::continuation&& back) {
        after_switch(nullptr, &scheduler_bottom, &scheduler_size);
        fibre.back = &back;
        // The first entry only takes the stack; the body starts with the next.
        before_switch(&fibre.fake_stack, scheduler_bottom, scheduler_size);
        back = back.resume();
        after_switch(fibre.fake_stack, &scheduler_bottom, &scheduler_size);
        (*block_now.body)();
        fibre.waits = Waits::ended;
        before_switch(nullptr, scheduler_bottom, scheduler_size);
        return std::move(back);
      });
}

void enter(Fibre& fibre, bool first) {
  running = &fibre;
  place.thread = fibre.thread;
  const context::stack_context stack = stacks.get(fibre.index);
  void* saved = nullptr;
  before_switch(&saved, static_cast<std::byte*>(stack.sp) - stack.size, stack.size);
  if (first) {
    start(fibre);
  } else {
    fibre.continuation = fibre.continuation.resume();
  }
  after_switch(saved, nullptr, nullptr);
}

[[noreturn]] void stuck() {
  size_t at_block = 0, at_warp = 0;
  for (const Fibre& fibre : block_now.fibres) {
    at_block += fibre.waits == Waits::block;
    at_warp += fibre.waits == Waits::warp;
  }
  std::fprintf(
      stderr,
      "cuda emulation: block (%u, %u, %u) is stuck: %zu threads wait at __syncthreads, %zu "
      "at a warp's operation\n",
      place.block.x, place.block.y, place.block.z, at_block, at_warp);
  std::abort();
}

/// Frees those who wait together; true when somebody may run.
bool release() {
  std::vector<Fibre>& fibres = block_now.fibres;
  bool any = false;
  for (size_t first = 0; first < fibres.size(); first += kWarp) {
    const size_t last = std::min(fibres.size(), first + kWarp);
    size_t waiting = 0, ended = 0;
    for (size_t i = first; i < last; ++i) {
      waiting += fibres[i].waits == Waits::warp;
      ended += fibres[i].waits == Waits::ended;
    }
    if (waiting > 0 && waiting + ended == last - first) {
      for (size_t i = first; i < last; ++i) {
        if (fibres[i].waits == Waits::warp) fibres[i].waits = Waits::no;
      }
      any = true;
    }
  }
  if (any) return true;
  for (const Fibre& fibre : fibres) {
    if (fibre.waits != Waits::block && fibre.waits != Waits::ended) return false;
  }
  for (Fibre& fibre : fibres) {
    if (fibre.waits == Waits::block) {
      fibre.waits = Waits::no;
      any = true;
    }
  }
  return any;
}

void run_block(dim3 size) {
  const unsigned count = size.x * size.y * size.z;
  std::vector<Fibre>& fibres = block_now.fibres;
  fibres.clear();
  fibres.resize(count);
  const size_t warps = (count + kWarp - 1) / kWarp;
  block_now.slots.assign(warps * 2 * kWarp, 0);
  for (unsigned i = 0; i < count; ++i) {
    fibres[i].index = i;
    fibres[i].thread = dim3(i % size.x, i / size.x % size.y, i / (size.x * size.y));
    enter(fibres[i], true);
  }
  size_t ended = 0;
  while (ended < count) {
    bool ran = false;
    for (unsigned n = 0; n < count; ++n) {
      Fibre& fibre = fibres[reversed ? count - 1 - n : n];
      if (fibre.waits != Waits::no) continue;
      ran = true;
      enter(fibre, false);
      ended += fibre.waits == Waits::ended;
    }
    if (!ran && !release()) stuck();
  }
}

}  // namespace

void launch(dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()>& body) {
  // Of its own size, so that the address sanitizer sees what lies past it.
  std::vector<std::byte> memory(shared_bytes + 16);
  shared = memory.data();
  block_now.body = &body;
  place.grid_size = grid;
  place.block_size = block;
  for (unsigned z = 0; z < grid.z; ++z) {
    for (unsigned y = 0; y < grid.y; ++y) {
      for (unsigned x = 0; x < grid.x; ++x) {
        place.block = dim3(x, y, z);
        run_block(block);
      }
    }
  }
  shared = nullptr;
}

void reverse_order(bool reverse) { reversed = reverse; }

void block_barrier() { yield(Waits::block); }

unsigned lane() { return running->index % kWarp; }

uint64_t exchange(uint64_t value, unsigned source) {
  Fibre& self = *running;
  uint64_t* slots = &block_now.slots[(self.index / kWarp * 2 + self.exchanges++ % 2) * kWarp];
  slots[self.index % kWarp] = value;
  yield(Waits::warp);
  return slots[source];
}

unsigned vote(bool value) {
  Fibre& self = *running;
  uint64_t* slots = &block_now.slots[(self.index / kWarp * 2 + self.exchanges++ % 2) * kWarp];
  slots[self.index % kWarp] = value ? 1 : 0;
  yield(Waits::warp);
  unsigned bits = 0;
  for (unsigned i = 0; i < kWarp; ++i) {
    const size_t index = self.index / kWarp * kWarp + i;
    // A lane that has ended before has done fewer operations.
    const bool here =
        index < block_now.fibres.size() && block_now.fibres[index].exchanges >= self.exchanges;
    if (here) bits |= static_cast<unsigned>(slots[i]) << i;
  }
  return bits;
}

}  // namespace cuda_emulation
