// The sbatch script of a sweep: slurm/sweep.sbatch with its places filled in. No text of a user's
// becomes shell code: what is not a number is quoted.
#pragma once

#include <filesystem>
#include <string>

namespace ropesweep::commands {

struct BatchJob {
  std::string name;  ///< the sweep's
  std::filesystem::path program, sweep, store;
  int nodes = 1, gpus_per_node = 0;
  double seconds = 0;             ///< of the allocation
  std::string partition, device;  ///< empty: not said
  int warning_seconds = 180;      ///< from Slurm's signal to the end
};

/// Errors: user error for a partition or path that sbatch's own lines can't hold (a line break).
std::string sbatch_script(const BatchJob& job);

/// 'text' for a POSIX shell, whatever it holds.
std::string shell_quoted(const std::string& text);
/// D-HH:MM:SS
std::string slurm_time(double seconds);

}  // namespace ropesweep::commands
