// The device that a test program is about: cpu, cuda, or emulated (tests/emulation). The same test
// bodies are built once for each.
#pragma once

#include <memory>
#include <string>

#include "worker/backend/checked_backend.h"
#include "worker/backend/cuda/make_backend.h"
#include "worker/backend/ops.h"

namespace ropesweep::backend {

inline const std::string kTestDevice = ROPESWEEP_TEST_DEVICE;

/// A backend of the test's device. `threads`: of the CPU.
inline std::unique_ptr<Backend> make_test_backend(int threads = 2) {
#ifdef ROPESWEEP_TEST_CUDA
  static_cast<void>(threads);
  return checked(cuda::make_backend(0));
#else
  return make_cpu_backend(threads);
#endif
}

}  // namespace ropesweep::backend
