// The main function of test programs for a CUDA device: without one it says so and is skipped.
#include <gtest/gtest.h>

#include <cstdio>

#include "worker/backend/cuda/make_backend.h"

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  if (ropesweep::backend::cuda::device_count() == 0) {
    std::puts("skipped: no CUDA device here; run tests/gpu.sh on a machine with one");
    return 0;
  }
  return RUN_ALL_TESTS();
}
