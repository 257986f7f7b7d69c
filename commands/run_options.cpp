// Which options there are, what they say of themselves, and what they may not be.
#include "commands/run_options.h"

#include "commands/options.h"
#include "commands/sweep_inputs.h"
#include "experiments/error.h"

namespace ropesweep::commands {

bool parse_run_options(const Arguments& arguments, RunOptions& run) {
  namespace po = boost::program_options;
  po::options_description options("Options");
  auto add = options.add_options();
  add("sweep", po::value(&run.sweep)->required()->value_name("SWEEP"), sweep_help().c_str());
  add("store", po::value(&run.store)->value_name("S"), kStoreHelp);
  add("workers", po::value(&run.workers)->value_name("N"),
      "workers to start on this host (without mpirun; as many as GPUs, or 2)");
  add("hostfile", po::value(&run.hostfile)->value_name("F"),
      "start workers on the hosts of this file: lines 'NAME slots=N'");
  add("slurm", po::bool_switch(&run.slurm),
      "in a job of Slurm's: a worker for each of its GPUs on all its nodes (--workers: so many a "
      "node), requeued while work remains");
  add("device", po::value(&run.device)->value_name("D"), "cpu | cuda | auto (the sweep's)");
  add("threads", po::value(&run.threads)->default_value(0)->value_name("N"),
      "threads a worker (0: the sweep's, or the host's cores shared out)");
  add("time", po::value(&run.time)->value_name("T"),
      "end after this time, e.g. 90s, 30m, 8h, 1-12:00:00 (the sweep's)");
  add("suspicion", po::value(&run.suspicion)->default_value(run.suspicion)->value_name("SECONDS"),
      "a worker silent for so long is taken for lost");
  add("grace", po::value(&run.grace)->default_value(run.grace)->value_name("SECONDS"),
      "when told to stop, workers may take so long to save");
  add("hang", po::value(&run.hang)->default_value(run.hang)->value_name("SECONDS"),
      "a task without progress for so long, and for ten times its longest pause, hangs (0: never)");
  add("disk-patience",
      po::value(&run.disk_patience)->default_value(run.disk_patience)->value_name("SECONDS"),
      "a task waits so long for a disk that is full or fails before it counts as an attempt");
  add("start-patience", po::value(&run.start_patience)->value_name("SECONDS"),
      "all ranks must have started within this time (60, and 0.2 for each rank)");
  add("most-gpus-per-task", po::value(&run.most_gpus_per_task)->value_name("N"),
      "what runs out of memory on gpus_per_task workers is tried on 2, 4, … times as many, up to "
      "N");
  po::positional_options_description positional;
  positional.add("sweep", 1);
  po::variables_map values;
  if (!parse_options(arguments, "[mpirun -n N+1] ropesweep run SWEEP [options]", options,
                     positional, values)) {
    return false;
  }
  run.quiet = values["quiet"].as<bool>();
  if (run.workers < 1 && values.count("workers") > 0) {
    throw_user_error("--workers {}: at least one is needed", run.workers);
  }
  if (!(run.hang >= 0)) {
    throw_user_error("--hang {}: seconds, or 0 for never", run.hang);
  }
  if (!(run.disk_patience >= 0)) {
    throw_user_error("--disk-patience {}: seconds, or 0 for none", run.disk_patience);
  }
  if (values.count("start-patience") > 0 && !(run.start_patience >= 1)) {
    throw_user_error("--start-patience {}: at least a second", run.start_patience);
  }
  if (run.slurm && !run.hostfile.empty()) {
    throw_user_error("--slurm takes the job's nodes, --hostfile a file's: give one of them");
  }
  if (run.suspicion < 3) {
    throw_user_error("--suspicion {}: at least 3 seconds, since signs of life come once a second",
                     run.suspicion);
  }
  return true;
}

}  // namespace ropesweep::commands
