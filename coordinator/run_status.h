// How a run under mpirun tells its launcher what came of it: NAME.d/run.json. mpirun's own exit
// status says nothing once a rank was lost.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace ropesweep {

struct RunStatus {
  std::string run;               ///< which run: the launcher gives it a name
  int64_t pid = 0;               ///< the coordinator's
  std::optional<int> exit_code;  ///< absent: still running
};

/// Written beside and renamed. Errors: Error(transient).
void write_run_status(const std::filesystem::path& directory, const RunStatus& status);
/// Nothing when there is no such file, it is malformed, or it is of another run.
std::optional<RunStatus> read_run_status(const std::filesystem::path& directory,
                                         const std::string& run);

}  // namespace ropesweep
