// The schedules of a learning rate by name; what they mean is worker/llama/optimizer.h's.
#pragma once

#include <string>
#include <vector>

namespace ropesweep {

/// After warm-up the rate stays, or falls to zero at the last step.
inline const std::vector<std::string> kSchedules = {"constant", "linear", "cosine"};

}  // namespace ropesweep
