// The sbatch script of a sweep: slurm/sweep.sbatch with its places filled in. No text of a user's
// becomes shell code: what is not a number is quoted.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace ropesweep::commands {

struct BatchJob {
  std::string name;  ///< the sweep's
  std::filesystem::path program, sweep, store;
  int nodes = 1;
  int gpus_per_node = 0;
  int gpus = 0;              ///< in all, however they lie on the nodes; 0: gpus_per_node of each
  int workers_per_node = 0;  ///< 0: one a GPU, or one
  double seconds = 0;        ///< of the allocation
  std::string device;        ///< empty: not said
  /// More of sbatch's options, each one "--name=value" or "--name".
  std::vector<std::string> options;
  int warning_seconds = 180;  ///< from Slurm's signal to the end
};

/// The #SBATCH line of "--name=value" or "--name", the value quoted where it has to be.
/// Errors: user error where it is none, or can't be quoted (a quote, a line break).
std::string sbatch_line(const std::string& option);

/// Errors: user error for an option or path that sbatch's own lines can't hold (a line break).
std::string sbatch_script(const BatchJob& job);

/// 'text' for a POSIX shell, whatever it holds.
std::string shell_quoted(const std::string& text);
/// D-HH:MM:SS
std::string slurm_time(double seconds);

}  // namespace ropesweep::commands
