// How much memory this process may still take, to choose how to run, never what comes out.
#pragma once

#include <cstddef>

namespace ropesweep::tasks {

/// Bytes: the least of the kernel's MemAvailable and what the control group (v2 or v1) leaves.
/// 0 when neither can be read.
size_t available_memory();

}  // namespace ropesweep::tasks
