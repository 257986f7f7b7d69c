// ropesweep run: under mpirun one rank of a run; without it, the launcher of one on this host.
#include <spdlog/spdlog.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <optional>

#include "analysis/summary.h"
#include "commands/duration.h"
#include "commands/options.h"
#include "commands/run_options.h"
#include "commands/slurm_run.h"
#include "commands/sweep_inputs.h"
#include "coordinator/coordinator.h"
#include "coordinator/launcher.h"
#include "coordinator/protocol/mpi_channel.h"
#include "coordinator/protocol/process_watch.h"
#include "coordinator/run_status.h"
#include "experiments/error.h"
#include "experiments/host_name.h"
#include "worker/shepherd_rank.h"
#include "worker/tasks/device.h"

namespace ropesweep::commands {
namespace {

namespace fs = std::filesystem;

/// A worker gives itself up after this part of the time after which it is suspected, so that a task
/// given to another no longer runs here.
constexpr double kSelfStopShare = 2.0 / 3.0;
constexpr double kHangFactor = 2;
constexpr int kDefaultWorkers = 2;  // where there is no GPU
constexpr int kDefaultColumns = 80;

std::string text_of_environment(const char* name) {
  const char* text = std::getenv(name);
  return text == nullptr ? "" : text;
}

int terminal_width() {
  if (::isatty(STDERR_FILENO) == 0) {
    return 0;
  }
  winsize size{};
  return ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col
                                                                           : kDefaultColumns;
}

double wall_seconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

void record_provenance(Store& store, const SweepInputs& inputs) {
  const auto& known = store.contents().provenance.text;
  if (!known.contains("started_at")) {
    store.provenance("started_at", fmt::format("{:.3f}", wall_seconds()));
  }
  const auto note = [&](const std::string& key, const std::string& value) {
    const auto found = known.find(key);
    if (found == known.end() || found->second != value) {
      store.provenance(key, value);
    }
  };
  note("sweep", inputs.sweep.text);
  note("program_version", ROPESWEEP_VERSION);
  note("host", host_name());
  note("device", inputs.sweep.workers.device);
  for (const auto& [name, directory] : inputs.sweep.models) {
    const auto digest = inputs.digests.find(directory);
    if (digest != inputs.digests.end()) {
      note(inputs.sweep.models.size() == 1 ? "model_digest" : "model_digest." + name,
           digest->second);
    }
  }
}

/// Seconds to the end of Slurm's allocation, less what ends in it; none outside or without a limit.
std::optional<double> seconds_of_allocation() {
  constexpr double kSpare = 60;
  const std::string text = text_of_environment("SLURM_JOB_END_TIME");
  const double left = std::atof(text.c_str()) - wall_seconds();
  return text.empty() ? std::nullopt : std::optional(std::max({1.0, left / 2, left - kSpare}));
}

CoordinatorOptions coordinator_options(const RunOptions& run, const Sweep& sweep,
                                       const fs::path& directory) {
  CoordinatorOptions options;
  options.reactor.team_size = sweep.workers.gpus_per_task;
  options.reactor.most_team_size = std::max(run.most_gpus_per_task, sweep.workers.gpus_per_task);
  options.reactor.hang_seconds = run.hang;
  options.reactor.disk_patience_seconds = run.disk_patience;
  options.reactor.groups_directory = fs::absolute(directory / "groups").string();
  options.reactor.crash_limit = sweep.limits.crash_limit;
  options.reactor.suspicion_seconds = run.suspicion;
  options.reactor.grace_seconds = run.grace;
  double limit = run.time.empty() ? sweep.limits.time_seconds : parse_duration("--time", run.time);
  if (const auto left = seconds_of_allocation()) {
    limit = limit > 0 ? std::min(limit, *left) : *left;
  }
  if (limit > 0) {
    options.reactor.time_limit_seconds = limit;
    options.reactor.save_margin_seconds = std::min(options.reactor.save_margin_seconds, limit / 10);
  }
  const std::string terminal = text_of_environment(kTerminalVariable);
  options.terminal_width = terminal.empty() ? terminal_width() : std::atoi(terminal.c_str());
  options.quiet = run.quiet;
  return options;
}

/// Errors: user error when a task would wait for workers for ever.
void check_workers(int64_t workers, const Sweep& sweep) {
  const int64_t wanted = sweep.workers.gpus_per_task;
  if (workers < wanted) {
    throw_user_error(
        "{}: [workers] gpus_per_task = {}, and there are {} workers: start at least {} "
        "(--workers, or one rank more with mpirun -n)",
        sweep.file.string(), wanted, workers, wanted);
  }
}

/// Rank 0's work with the store open.
CoordinatorResult coordinate_store(Channel& channel, const RunOptions& run, SweepInputs inputs) {
  const auto store = Store::open(inputs.store);
  write_run_status(store->directory(),
                   {text_of_environment(kRunVariable), ::getpid(), std::nullopt});
  // What workers leave that are killed while they meet.
  const fs::path groups = store->directory() / "groups";
  std::error_code ignored;
  fs::remove_all(groups, ignored);
  store->plan(inputs.grid.cells, inputs.grid.fine_tunes);
  record_provenance(*store, inputs);
  store->sync();
  store->publish_if_due();
  TaskPool tasks = remaining_tasks(inputs, store->contents());
  const std::vector<std::string> cells = cell_ids(inputs.grid.cells);
  inputs.grid = {};  // The store and the tasks have its cells, which may be a million.
  const CoordinatorResult result =
      coordinate(channel, *store, std::move(tasks), cells,
                 coordinator_options(run, inputs.sweep, store->directory()));
  fs::remove_all(groups, ignored);
  return result;
}

/// Ends the whole run from rank 0: workers that nothing was said to are told to leave.
void dismiss_workers(MpiChannel& channel) {
  for (int rank = 1; rank < channel.size(); ++rank) {
    channel.send(rank, Stop{false});
  }
  channel.finish(true, 1);
}

void print_tables(const fs::path& store) {
  print_summary(std::cout, read_store(store));
  std::cout << std::flush;
}

/// Seconds for all ranks to start: the program is read from a file system that all hosts share.
double start_patience(const RunOptions& run, const MpiEnvironment& environment) {
  constexpr double kFew = 60, kEach = 0.2;
  return run.start_patience > 0 ? run.start_patience : kFew + kEach * environment.size;
}

int coordinator_rank(const RunOptions& run, const MpiEnvironment& environment) {
  const auto channel = MpiChannel::start(start_patience(run, environment));
  const bool launched = !text_of_environment(kRunVariable).empty();
  CoordinatorResult result;
  fs::path store;
  try {
    if (channel->size() < 2) {
      throw_user_error(
          "mpirun -n 1 leaves no worker: start one rank more than workers, at least 2");
    }
    SweepInputs inputs = read_sweep_inputs(run.sweep, run.store, run.device);
    check_workers(channel->size() - 1, inputs.sweep);
    store = inputs.store;
    result = coordinate_store(*channel, run, std::move(inputs));
  } catch (...) {
    dismiss_workers(*channel);
    throw;
  }
  if (!launched) {
    print_tables(store);
  }
  write_run_status(store_directory(store),
                   {text_of_environment(kRunVariable), ::getpid(), result.exit_code});
  if (!result.in_order) {
    std::cout.flush();
    spdlog::default_logger()->flush();
    _exit(result.exit_code);  // MPI_Finalize would wait for the lost ones.
  }
  channel->finish(true, result.exit_code);
  return result.exit_code;
}

int worker_rank(const RunOptions& run, const MpiEnvironment& environment) {
  const auto channel = MpiChannel::start(start_patience(run, environment));
  const Sweep sweep = find_sweep(run.sweep);
  ShepherdOptions options;
  options.device = run.device.empty() ? sweep.workers.device : run.device;
  options.local_rank = environment.local_rank;
  options.coordinator_silence_seconds = run.suspicion * kSelfStopShare;
  options.runner_silence_seconds = run.suspicion * kHangFactor;
  // Tests put another program in its place (tests/integration/empty_runner.cpp).
  const std::string runner = text_of_environment("ROPESWEEP_RUNNER");
  options.runner_command = {runner.empty() ? fs::read_symlink("/proc/self/exe").string() : runner,
                            "runner",
                            "--device",
                            options.device,
                            "--shepherd-silence",
                            fmt::format("{}", options.coordinator_silence_seconds)};
  const int64_t wanted = run.threads > 0 ? run.threads : sweep.workers.threads;
  options.share = [wanted, environment](const std::string& coordinator_host) {
    // The coordinator is the first rank of its host, and takes no GPU.
    const int others = coordinator_host == host_name() ? 1 : 0;
    return RunnerShare{runner_threads(wanted, environment.local_size - others),
                       environment.local_rank - others};
  };
  return run_shepherd(*channel, std::move(options));
}

int default_workers(const WorkerSettings& settings) {
  const int gpus = settings.device == "cpu" ? 0 : tasks::cuda_devices();
  const auto team = static_cast<int>(settings.gpus_per_task);
  return gpus > 0 ? gpus : std::max(kDefaultWorkers, team);
}

/// Without mpirun: what the store has already needs no processes. `hosts`: empty: this one.
int launch_or_finish(const Arguments& arguments, const RunOptions& run,
                     std::vector<HostWorkers> hosts) {
  SweepInputs inputs = read_sweep_inputs(run.sweep, run.store, run.device);
  {
    const auto store = Store::open(inputs.store);
    if (remaining_tasks(inputs, store->contents()).empty()) {
      store->plan(inputs.grid.cells, inputs.grid.fine_tunes);
      store->sync();
      store->publish_if_due();
      print_tables(inputs.store);
      spdlog::info("nothing is to be done: {} cells have their results", inputs.grid.cells.size());
      return completion_code(store->contents(), cell_ids(inputs.grid.cells));
    }
  }
  inputs.grid = {};  // of use to the coordinator alone
  LaunchOptions options;
  options.command = {fs::read_symlink("/proc/self/exe").string(), "run"};
  options.command.insert(options.command.end(), arguments.begin(), arguments.end());
  options.hosts = std::move(hosts);
  options.slurm = run.slurm;
  options.workers = !options.hosts.empty() ? total_workers(options.hosts)
                    : run.workers > 0      ? run.workers
                                           : default_workers(inputs.sweep.workers);
  check_workers(options.workers, inputs.sweep);
  options.directory = store_directory(inputs.store);
  options.terminal_width = terminal_width();
  const int code = launch(options);
  if (code == 0 || code == 3 || code == 75) {
    print_tables(inputs.store);
  }
  return code;
}

}  // namespace

int run_command(const Arguments& arguments) {
  RunOptions run;
  if (!parse_run_options(arguments, run)) {
    return 0;
  }
  const MpiEnvironment environment = mpi_environment();
  if (environment.size == 0) {
    if (run.slurm) {
      return run_in_slurm({run.sweep, run.store, run.device, run.workers}, [&](const auto& hosts) {
        return launch_or_finish(arguments, run, hosts);
      });
    }
    return launch_or_finish(
        arguments, run,
        run.hostfile.empty() ? std::vector<HostWorkers>{} : read_hostfile(run.hostfile));
  }
  exit_when_gone(::getppid(), 1);
  return environment.rank == 0 ? coordinator_rank(run, environment) : worker_rank(run, environment);
}

}  // namespace ropesweep::commands
