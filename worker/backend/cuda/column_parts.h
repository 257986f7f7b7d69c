// Sums over rows in a fixed order: over fixed runs of rows first, by a kernel of the op's own, then
// over the runs.
#pragma once

#include "worker/backend/cuda/launch.h"

namespace ropesweep::backend::cuda {
namespace {

/// Rows of a run, whatever the device: the sums' bits depend on this.
constexpr int64_t kRunRows = 64;
/// Threads of a block that takes columns of a run.
constexpr int kRunThreads = 64;
/// A block that adds up runs: columns, and threads that share a column's runs.
constexpr int kColumns = 32, kSharers = 8;

/// Blocks of columns · runs, for kernels whose thread takes v columns of a run.
inline dim3 run_blocks(int64_t rows, int64_t width, int v) {
  return dim3(static_cast<unsigned>(ceil_div(width, int64_t{kRunThreads} * v)),
              static_cast<unsigned>(ceil_div(rows, kRunRows)));
}

/// to[column] += the parts [count, width] of all runs: each sharer adds every eighth, then their
/// sums are added.
__global__ void __launch_bounds__(kColumns* kSharers)
    add_parts_kernel(float* to, const float* parts, int64_t count, int64_t width) {
  __shared__ float sums[kSharers][kColumns];
  const unsigned column = threadIdx.x % kColumns, sharer = threadIdx.x / kColumns;
  const int64_t i = int64_t{blockIdx.x} * kColumns + column;
  float sum = 0;
  if (i < width) {
    for (int64_t part = sharer; part < count; part += kSharers) sum += parts[part * width + i];
  }
  sums[sharer][column] = sum;
  __syncthreads();
  if (sharer != 0 || i >= width) return;
  for (int n = 1; n < kSharers; ++n) sum += sums[n][column];
  to[i] += sum;
}

inline void add_parts(cudaStream_t stream, float* to, const float* parts, int64_t count,
                      int64_t width) {
  launch({stream, blocks_for(width, kColumns), kColumns * kSharers}, add_parts_kernel, to, parts,
         count, width);
}

}  // namespace
}  // namespace ropesweep::backend::cuda
