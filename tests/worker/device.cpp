// Which device a test program is about: the build says it for each program.
#include "tests/worker/devices.h"
#ifdef ROPESWEEP_TEST_CUDA
#include "worker/backend/cuda/make_backend.h"
#endif

namespace ropesweep::backend {

std::string_view test_device() { return ROPESWEEP_TEST_DEVICE; }

std::unique_ptr<Backend> make_test_backend([[maybe_unused]] int threads) {
#ifdef ROPESWEEP_TEST_CUDA
  return checked(cuda::make_backend(0));
#else
  return make_cpu_backend(threads);
#endif
}

}  // namespace ropesweep::backend
