// The CUDA backend for those who link it: the plugin and the tests.
#pragma once

#include <memory>

#include "worker/backend/ops.h"

namespace ropesweep::backend::cuda {

/// Devices that this process sees; 0 without a driver.
int device_count();

/// Without the checks of checked_backend.h. Errors: NoDevice.
std::unique_ptr<Backend> make_backend(int device);

}  // namespace ropesweep::backend::cuda
