// Between scontrol, the launcher and the job's end.
#include "commands/slurm_run.h"

#include <spdlog/spdlog.h>

#include <cstdlib>

#include "commands/slurm_end.h"
#include "commands/slurm_job.h"
#include "commands/sweep_inputs.h"
#include "experiments/error.h"

namespace ropesweep::commands {
namespace {

int code_of(const Error& error) {
  return error.kind() == FailureKind::user ? 2 : error.kind() == FailureKind::time ? 75 : 1;
}

void say_where(const SlurmJob& job, const std::vector<HostWorkers>& hosts) {
  std::string shares;
  for (const HostWorkers& host : hosts) {
    shares += fmt::format(" {} ({})", host.name, host.workers);
  }
  spdlog::info("job {}, start {}, workers on{}", job.id, job.restarts + 1, shares);
}

}  // namespace

int run_in_slurm(const SlurmRun& run,
                 const std::function<int(const std::vector<HostWorkers>&)>& launch) {
  const SlurmJob job = current_slurm_job();
  if (job.end_time) {  // Slurm itself sets it from 23.02 on.
    ::setenv("SLURM_JOB_END_TIME", fmt::format("{:.0f}", *job.end_time).c_str(), 0);
  }
  const Sweep sweep = find_sweep(run.sweep);
  const auto store =
      run.store.empty() ? default_store(sweep) : std::filesystem::absolute(run.store);
  const auto hosts =
      workers_of(job, run.device.empty() ? sweep.workers.device : run.device, run.workers_per_node);
  say_where(job, hosts);
  int code = 1;
  SweepProgress before;
  try {
    before = sweep_progress(store);
    code = launch(hosts);
  } catch (const Error& error) {
    spdlog::error("{}", error.what());
    code = code_of(error);
  }
  return end_slurm_run(job, store, code, before);
}

}  // namespace ropesweep::commands
