// "did you mean": the known name nearest to a mistyped one.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace ropesweep {

/// The known name with the least edit distance to `word`, when that is at most a third of its
/// length (at least 2); otherwise "".
std::string nearest_name(std::string_view word, const std::vector<std::string>& known);

}  // namespace ropesweep
