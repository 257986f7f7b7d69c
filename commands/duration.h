// Times as people write them: 90, 90s, 30m, 8h, 2d, and Slurm's MM:SS, HH:MM:SS, D-HH:MM:SS.
#pragma once

#include <string>

namespace ropesweep::commands {

/// Seconds. Errors: user error naming `option` and the forms.
double parse_duration(const std::string& option, const std::string& text);

}  // namespace ropesweep::commands
