// The device that a test program is about: cpu, cuda, or emulated (tests/emulation). The same test
// bodies are linked into a program for each.
#pragma once

#include <memory>
#include <string_view>

#include "worker/backend/checked_backend.h"
#include "worker/backend/ops.h"

namespace ropesweep::backend {

std::string_view test_device();

/// A backend of the test's device. `threads`: of the CPU.
std::unique_ptr<Backend> make_test_backend(int threads = 2);

}  // namespace ropesweep::backend
