// fork and exec of mpirun in a process group of its own, so that a terminal's Ctrl-C reaches only
// the launcher, which passes it on as SIGUSR1 (mpirun hands that to all ranks, and kills nobody).
#include "coordinator/launcher.h"

#include <fcntl.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>

#include "coordinator/protocol/mpi_channel.h"
#include "coordinator/protocol/process_watch.h"
#include "coordinator/run_status.h"
#include "experiments/error.h"
#include "experiments/host_name.h"
#include "experiments/output_file.h"

namespace ropesweep {
namespace {

/// mpirun gets so long to end by itself after the run has, and then again after SIGTERM.
constexpr double kPatienceSeconds = 5;
constexpr double kLookSeconds = 0.1;
constexpr int kNoSuchProgram = 127;
/// So often mpirun is started where its ranks don't come together.
constexpr int kMostStarts = 3;

std::atomic<int> signals{0};

double monotonic_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// A directory for mpirun's shared memory and sessions, removed at the end: killed ranks leave
/// theirs.
class Scratch {
 public:
  Scratch() {
    std::string pattern = (std::filesystem::exists("/dev/shm") ? "/dev/shm" : "/tmp");
    pattern += "/ropesweep-XXXXXX";
    if (::mkdtemp(pattern.data()) == nullptr) {
      throw_transient_error("{}: {}", pattern, std::strerror(errno));
    }
    path_ = pattern;
  }
  ~Scratch() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

pid_t start(std::vector<std::string> command, pid_t launcher) {
  std::vector<char*> arguments;
  for (std::string& argument : command) {
    arguments.push_back(argument.data());
  }
  arguments.push_back(nullptr);
  const pid_t pid = ::fork();
  if (pid < 0) {
    throw_transient_error("fork: {}", std::strerror(errno));
  }
  if (pid == 0) {
    ::setpgid(0, 0);
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (::getppid() != launcher) {
      _exit(1);
    }
    if (const int nothing = ::open("/dev/null", O_RDONLY); nothing > 0) {
      ::dup2(nothing, 0);
    }
    for (int signal : {SIGTERM, SIGINT, SIGUSR1}) {
      std::signal(signal, SIG_DFL);
    }
    ::execvp(arguments[0], arguments.data());
    _exit(kNoSuchProgram);
  }
  return pid;
}

/// One mpirun from its start to its end.
class Supervision {
 public:
  /// `coordinator_here`: its process is one of this host. `late`: a file that is there once ranks
  /// gave up waiting for others.
  Supervision(pid_t pid, std::filesystem::path directory, std::string run, bool coordinator_here,
              std::filesystem::path late)
      : pid_(pid),
        watch_(pid),
        directory_(std::move(directory)),
        run_(std::move(run)),
        coordinator_here_(coordinator_here),
        late_(std::move(late)) {}

  /// Returns waitpid's status.
  int wait() {
    int status = 0;
    while (::waitpid(pid_, &status, WNOHANG) == 0) {
      forward_signals();
      end_if_hanging(monotonic_seconds());
      watch_.wait(kLookSeconds);
    }
    return status;
  }

  bool told_to_stop() const { return forwarded_ > 0; }

 private:
  void forward_signals() {
    const int count = signals.exchange(0);
    if (count == 0) {
      return;
    }
    forwarded_ += count;
    // Asked twice: don't wait for anything to be saved.
    ::kill(pid_, forwarded_ > 1 ? SIGTERM : SIGUSR1);
    if (forwarded_ == 1) {
      spdlog::info("stopping: running tasks save their state (once more to end at once)");
    }
  }

  void end_if_hanging(double now) {
    if (over_since_ < 0) {
      const auto status = read_run_status(directory_, run_);
      if (!status) {
        if (std::filesystem::exists(late_)) over_since_ = now;
        return;
      }
      if (!coordinator_ && coordinator_here_) {
        coordinator_ = std::make_unique<ProcessWatch>(static_cast<pid_t>(status->pid));
      }
      if (status->exit_code || (coordinator_ && coordinator_->gone())) {
        over_since_ = now;
      }
    } else if (now - over_since_ > 2 * kPatienceSeconds) {
      ::kill(pid_, SIGKILL);
    } else if (now - over_since_ > kPatienceSeconds) {
      ::kill(pid_, SIGTERM);
    }
  }

  pid_t pid_;
  ProcessWatch watch_;
  std::filesystem::path directory_;
  std::string run_;
  bool coordinator_here_;
  std::filesystem::path late_;
  std::unique_ptr<ProcessWatch> coordinator_;
  int forwarded_ = 0;
  double over_since_ = -1;
};

using Settings = std::vector<std::pair<std::string, std::string>>;

Settings settings_of_this_host(const std::filesystem::path& scratch) {
  return {
      {"plm", "isolated"},  // This host only, inside a cluster's allocation too.
      {"pml", "ob1"},
      {"btl", "self,vader"},
      {"btl_vader_single_copy_mechanism",
       "none"},  // Containers often forbid reading another process.
      {"btl_vader_backing_directory", scratch.string()},
      {"orte_tmpdir_base", scratch.string()},
  };
}

/// Starts Open MPI's daemon of a node, in place of ssh. With the one srun for all nodes that it
/// uses by itself, the end of that srun ends the run: a job's only other node, or a node that Slurm
/// gives up, would take all along.
constexpr const char* kNodeAgent = R"SH(
host=$1
shift
srun --overlap --nodes=1 --ntasks=1 --ntasks-per-node=1 --nodelist="$host" --mpi=none \
  --cpu-bind=none --kill-on-bad-exit=0 sh -c "$*" </dev/null
exit 0
)SH";

/// How ranks of several hosts reach each other is the cluster's own (OMPI_MCA_… add to it).
Settings settings_of_hosts(bool slurm, const std::filesystem::path& scratch) {
  Settings settings = {
      {"odls_base_sigkill_timeout", "10"},  // From SIGTERM to SIGKILL, for what is to be saved.
  };
  if (slurm) {
    settings.insert(settings.end(), {{"plm", "rsh"},
                                     {"plm_rsh_agent", "/bin/sh " + (scratch / "agent").string()},
                                     {"plm_rsh_no_tree_spawn", "1"},
                                     {"orte_leave_session_attached", "1"}});
  }
  return settings;
}

/// NAME:SLOTS,…; the coordinator is a rank more on the first.
std::string host_list(const std::vector<HostWorkers>& hosts) {
  std::string list;
  for (const HostWorkers& host : hosts) {
    list += fmt::format("{}{}:{}", list.empty() ? "" : ",", host.name,
                        host.workers + (list.empty() ? 1 : 0));
  }
  return list;
}

/// mpirun puts the coordinator on the first host; Slurm's batch script runs there.
bool coordinator_is_here(const std::vector<HostWorkers>& hosts) {
  if (hosts.empty() || hosts[0].name == "localhost") {
    return true;
  }
  const char* node = std::getenv("SLURMD_NODENAME");
  return hosts[0].name == host_name() || (node != nullptr && hosts[0].name == node);
}

std::string new_run_name() {
  return fmt::format("{}-{}-{}", host_name(), ::getpid(),
                     std::chrono::system_clock::now().time_since_epoch().count());
}

}  // namespace

std::vector<std::string> mpirun_command(const LaunchOptions& options,
                                        const std::filesystem::path& scratch) {
  const bool elsewhere = !options.hosts.empty();
  const int workers = elsewhere ? total_workers(options.hosts) : options.workers;
  std::vector<std::string> command = {
      "mpirun",    "-n",  std::to_string(workers + 1), "--enable-recovery", "--oversubscribe",
      "--bind-to", "none"};
  const auto settings =
      elsewhere ? settings_of_hosts(options.slurm, scratch) : settings_of_this_host(scratch);
  for (const auto& [name, value] : settings) {
    command.insert(command.end(), {"--mca", name, value});
  }
  if (elsewhere) {
    command.insert(command.end(), {"--host", host_list(options.hosts), "--map-by", "slot"});
    for (const char* variable : {kRunVariable, kTerminalVariable, "ROPESWEEP_CUDA_PLUGIN"}) {
      if (std::getenv(variable) != nullptr) {
        command.insert(command.end(), {"-x", variable});
      }
    }
  }
  command.insert(command.end(), options.command.begin(), options.command.end());
  return command;
}

namespace {

/// One mpirun. Nothing when its ranks did not come together, and nobody wishes it to stop.
std::optional<int> launch_once(const LaunchOptions& options) {
  const Scratch scratch;  // Of this host's ranks; those of others use what their hosts have.
  const std::filesystem::path late = scratch.path() / "late";
  const std::string run = new_run_name();
  ::setenv(kRunVariable, run.c_str(), 1);
  ::setenv(kTerminalVariable, std::to_string(options.terminal_width).c_str(), 1);
  ::setenv(kLateStartVariable, late.c_str(), 1);
  if (options.slurm) {
    write_whole(scratch.path() / "agent", kNodeAgent, false);
  }
  const pid_t pid = start(mpirun_command(options, scratch.path()), ::getpid());
  Supervision supervision(pid, options.directory, run, coordinator_is_here(options.hosts), late);
  const int status = supervision.wait();
  if (WIFEXITED(status) && WEXITSTATUS(status) == kNoSuchProgram) {
    throw_user_error(
        "{}", options.hosts.empty()
                  ? "mpirun isn't found in PATH: install Open MPI (Debian: openmpi-bin)"
                  : "mpirun isn't in PATH here or on another host, or doesn't reach one (above)");
  }
  const auto outcome = read_run_status(options.directory, run);
  if (outcome && outcome->exit_code) {
    return outcome->exit_code;
  }
  if (!outcome && std::filesystem::exists(late) && !supervision.told_to_stop()) {
    return std::nullopt;
  }
  throw_transient_error(
      "the coordinator ended without finishing (mpirun's status {}): nothing that was "
      "done is lost, run it again to go on",
      WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

}  // namespace

int launch(const LaunchOptions& options) {
  if (::geteuid() == 0) {
    ::setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 1);
    ::setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 1);
  }
  for (int signal : {SIGTERM, SIGINT, SIGUSR1}) {
    std::signal(signal, [](int) { ++signals; });
  }
  for (int starts = 1; starts <= kMostStarts; ++starts) {
    if (const std::optional<int> code = launch_once(options)) return *code;
    if (starts < kMostStarts) spdlog::warn("its ranks didn't come together: it is started again");
  }
  throw_transient_error(
      "its ranks did not come together in {} starts (above): nothing that was done is lost; see "
      "that each host answers, or give them longer (--start-patience)",
      kMostStarts);
}

}  // namespace ropesweep
