// ropesweep submit: writes a sweep's sbatch script beside its store and hands it to Slurm.
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <iostream>

#include "commands/duration.h"
#include "commands/options.h"
#include "commands/sbatch_script.h"
#include "commands/sweep_inputs.h"
#include "experiments/error.h"
#include "experiments/output_file.h"

extern char** environ;

namespace ropesweep::commands {
namespace {

namespace po = boost::program_options;
namespace fs = std::filesystem;

/// Runs sbatch with the script; no shell is in between. Returns its exit code.
int run_sbatch(const fs::path& script) {
  std::string program = "sbatch", file = script.string();
  std::array<char*, 3> arguments = {program.data(), file.data(), nullptr};
  pid_t pid = -1;
  if (const int error = ::posix_spawnp(&pid, "sbatch", nullptr, nullptr, arguments.data(), environ);
      error != 0) {
    throw_user_error("sbatch: {}: the script is at {}; submit it where Slurm is",
                     std::strerror(error), file);
  }
  int status = 0;
  ::waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

}  // namespace

int submit_command(const Arguments& arguments) {
  std::string sweep_file, store, time, partition, account, qos, constraint;
  std::vector<std::string> more;
  BatchJob job;
  po::options_description options("Options");
  auto add = options.add_options();
  add("sweep", po::value(&sweep_file)->required()->value_name("SWEEP"), sweep_help().c_str());
  add("nodes", po::value(&job.nodes)->required()->value_name("N"), "nodes");
  add("gpus-per-node", po::value(&job.gpus_per_node)->value_name("G"),
      "GPUs of each node, a worker each; 0: CPU workers");
  add("gpus", po::value(&job.gpus)->value_name("G"),
      "in place of --gpus-per-node: GPUs in all, as many on each node as it has free");
  add("workers-per-node", po::value(&job.workers_per_node)->value_name("W"),
      "workers of each node (one a GPU; one without GPUs)");
  add("time", po::value(&time)->required()->value_name("T"),
      "of the allocation: 30m, 8h, 2d, D-HH:MM:SS");
  add("partition", po::value(&partition)->value_name("P"), "partition");
  add("account", po::value(&account)->value_name("A"), "whom Slurm charges");
  add("qos", po::value(&qos)->value_name("Q"), "quality of service");
  add("constraint", po::value(&constraint)->value_name("C"), "features of the nodes, e.g. a100");
  add("sbatch", po::value(&more)->value_name("OPTION"),
      "another option of sbatch's, e.g. --sbatch=--mem=200G; may be given again");
  add("store", po::value(&store)->value_name("S"), kStoreHelp);
  add("device", po::value(&job.device)->value_name("D"), "cpu | cuda | auto (the sweep's)");
  add("dry-run", po::bool_switch(), "print the script and do nothing");
  po::positional_options_description positional;
  positional.add("sweep", 1);
  po::variables_map values;
  if (!parse_options(arguments,
                     "ropesweep submit SWEEP --nodes N --gpus-per-node G|--gpus G --time T "
                     "[options]",
                     options, positional, values)) {
    return 0;
  }
  if (values.count("gpus-per-node") + values.count("gpus") != 1) {
    throw_user_error("submit needs --gpus-per-node (0: none) or --gpus, and not both");
  }
  if (job.nodes < 1 || job.gpus_per_node < 0 || job.gpus < 0 || job.workers_per_node < 0) {
    throw_user_error("--nodes {} --gpus-per-node {}: at least one node, and no fewer than no GPUs",
                     job.nodes, job.gpus_per_node);
  }
  for (const auto& [name, value] : {std::pair{"partition", partition},
                                    {"account", account},
                                    {"qos", qos},
                                    {"constraint", constraint}}) {
    if (!value.empty()) {
      job.options.push_back(fmt::format("--{}={}", name, value));
    }
  }
  job.options.insert(job.options.end(), more.begin(), more.end());
  const Sweep sweep = find_sweep(sweep_file);
  job.name = sweep.name;
  job.program = fs::read_symlink("/proc/self/exe");
  job.sweep = sweep.file;
  job.store = store.empty() ? default_store(sweep) : fs::absolute(store);
  job.seconds = parse_duration("--time", time);
  // Of a short job no more than a quarter goes to saving.
  job.warning_seconds =
      std::min(job.warning_seconds, static_cast<int>(std::max(job.seconds, 60.0) / 4));
  const std::string script = sbatch_script(job);
  if (values["dry-run"].as<bool>()) {
    std::cout << script;
    return 0;
  }
  const fs::path path = fs::path(job.store).replace_extension(".sbatch");
  write_whole(path, script, false);
  return run_sbatch(path) == 0 ? 0 : 1;
}

}  // namespace ropesweep::commands
