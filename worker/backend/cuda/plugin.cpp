// What libropesweep_cuda.so shows to the program (worker/backend/cuda_plugin.cpp).
#include <string>

#include "worker/backend/cuda/make_backend.h"

/// Devices that this process sees.
extern "C" __attribute__((visibility("default"))) int ropesweep_cuda_device_count() {
  return ropesweep::backend::cuda::device_count();
}

/// A backend that the caller owns; null, with the reason, when there is no such device.
extern "C" __attribute__((visibility("default"))) ropesweep::backend::Backend*
ropesweep_make_cuda_backend(int device, std::string* why_not) {
  try {
    return ropesweep::backend::cuda::make_backend(device).release();
  } catch (const std::exception& error) {
    *why_not = error.what();
    return nullptr;
  }
}
