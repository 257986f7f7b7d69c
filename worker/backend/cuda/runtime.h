// The CUDA runtime's calls as this house wants them: errors are thrown with what was tried.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <new>
#include <stdexcept>
#include <string>

namespace ropesweep::backend::cuda {

/// A device that fails: its context is lost, and the process that owns it must end.
class DeviceError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Errors: std::bad_alloc when the device is out of memory, DeviceError "cuda: WHAT: reason"
/// otherwise.
inline void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  if (error == cudaErrorMemoryAllocation) throw std::bad_alloc();
  throw DeviceError(std::string("cuda: ") + what + ": " + cudaGetErrorString(error));
}

}  // namespace ropesweep::backend::cuda
