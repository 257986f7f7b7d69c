// CUB's part on the emulated device.
#include "worker/backend/cuda/sort.h"

#include <algorithm>
#include <numeric>
#include <vector>

namespace ropesweep::backend::cuda {

size_t sort_bytes(int64_t) { return 16; }

namespace {

void sort_now(const SortCall& call) {
  std::vector<int64_t> order(static_cast<size_t>(call.count));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t i, int64_t j) { return call.keys[i] < call.keys[j]; });
  for (size_t place = 0; place < order.size(); ++place) {
    call.sorted_keys[place] = call.keys[order[place]];
    call.sorted_values[place] = call.values[order[place]];
  }
}

}  // namespace

void sort_pairs(const SortCall& call, void*, size_t, cudaStream_t stream) {
  cuda_emulation::submit(stream, [call] { sort_now(call); });
}

}  // namespace ropesweep::backend::cuda
