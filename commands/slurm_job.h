// The Slurm job that this process runs in, as scontrol describes it: nodes with their GPUs, which
// may differ from node to node, the end of its time, its state.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/hosts.h"

namespace ropesweep::commands {

struct SlurmJob {
  std::string id;
  int restarts = 0;                 ///< times that it was requeued
  std::vector<std::string> nodes;   ///< the batch script's own first
  std::map<std::string, int> gpus;  ///< by node; absent: none
  std::string state;                ///< RUNNING, COMPLETING, …
  std::optional<double> end_time;   ///< seconds since 1970; none without a limit
};

/// The names that an expression such as n[1-2,7],big3 stands for.
using ExpandNodes = std::function<std::vector<std::string>(const std::string&)>;

/// From the line of `scontrol --oneliner --details show job`. What it lacks stays empty.
SlurmJob parse_slurm_job(const std::string& text, const ExpandNodes& expand);

/// The job that SLURM_JOB_ID names.
/// Errors: user error outside a job; transient when scontrol fails.
SlurmJob current_slurm_job();

/// Workers for a job's nodes: `workers_per_node`, or where that is 0 one a GPU; one a node in a job
/// without GPUs, or where `device` is cpu. Nodes without a worker are left out, but for the first.
std::vector<HostWorkers> workers_of(const SlurmJob& job, const std::string& device,
                                    int workers_per_node);

/// Asks Slurm to run the job again when its resources are free. What it answered if it didn't, else
/// "".
std::string requeue(const SlurmJob& job);

}  // namespace ropesweep::commands
