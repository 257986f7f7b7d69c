// A program's standard output as text: scontrol's answers. No shell is in between.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace ropesweep::commands {

struct ChildOutput {
  int exit_code = 0;
  std::string text;  ///< standard output and standard error, as they came
};

/// Runs `command` to its end. Nothing when it isn't in PATH or can't be started.
std::optional<ChildOutput> output_of(std::vector<std::string> command);

}  // namespace ropesweep::commands
