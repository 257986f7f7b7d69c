// A device's name, as users write it, and the backend that it stands for.
#pragma once

#include <memory>
#include <string>

#include "worker/backend/ops.h"

namespace ropesweep::tasks {

/// CUDA devices that this process sees; 0 without a driver or in a build without CUDA.
int cuda_devices();

/// The number of the CUDA device that a device text stands for; -1: the CPU. cpu | cuda (the first)
/// | cuda:N | auto (CUDA where there is a device). Errors: user error for another text.
int cuda_number(const std::string& device);

/// The backend of a device text. Errors: user error when there is no such device.
std::unique_ptr<backend::Backend> make_backend(const std::string& device, int threads);

}  // namespace ropesweep::tasks
