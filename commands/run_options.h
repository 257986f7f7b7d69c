// The options of `ropesweep run`.
#pragma once

#include <cstdint>
#include <string>

#include "commands/command.h"
#include "coordinator/reactor.h"

namespace ropesweep::commands {

struct RunOptions {
  std::string sweep, store, device, time, hostfile;
  int workers = 0;  ///< 0: one a GPU, or two on the CPU
  int64_t threads = 0;
  double suspicion = ReactorOptions{}.suspicion_seconds;
  double grace = ReactorOptions{}.grace_seconds;
  double hang = ReactorOptions{}.hang_seconds;
  double disk_patience = ReactorOptions{}.disk_patience_seconds;
  double start_patience = 0;  ///< 0: by the number of ranks
  int64_t most_gpus_per_task = 0;
  bool quiet = false, slurm = false;
};

/// False after --help. Errors: user error, naming the option.
bool parse_run_options(const Arguments& arguments, RunOptions& run);

}  // namespace ropesweep::commands
