// One start of a sweep as a Slurm job: `ropesweep run --slurm`.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "coordinator/hosts.h"

namespace ropesweep::commands {

struct SlurmRun {
  std::filesystem::path sweep, store;  ///< store empty: beside the sweep
  std::string device;                  ///< empty: the sweep's
  int workers_per_node = 0;            ///< 0: one a GPU
};

/// Finds the job's nodes and GPUs, calls `launch` with them, and then requeues the job or says what
/// to do (slurm_end.h). Returns the run's exit code; errors of the launch are told and become one.
/// Errors: as current_slurm_job.
int run_in_slurm(const SlurmRun& run,
                 const std::function<int(const std::vector<HostWorkers>&)>& launch);

}  // namespace ropesweep::commands
