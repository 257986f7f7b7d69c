// posix_spawn with everything of the parent's taken away that a runner must not have.
#include "worker/runner_process.h"

#include <sched.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstring>
#include <fstream>
#include <string_view>

extern char** environ;

namespace ropesweep {
namespace {

constexpr int kRunnerSocket = 3;

bool is_of_mpi(std::string_view variable) {
  constexpr std::array<std::string_view, 6> kPrefixes = {
      "OMPI_", "PMIX_", "ORTE_", "PRTE_", "OMP_NUM_THREADS=", "IPATH_"};
  return std::any_of(kPrefixes.begin(), kPrefixes.end(),
                     [&](std::string_view prefix) { return variable.starts_with(prefix); });
}

std::vector<std::string> scrubbed_environment(int threads) {
  std::vector<std::string> result;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    if (!is_of_mpi(*variable)) {
      result.emplace_back(*variable);
    }
  }
  result.push_back(fmt::format("OMP_NUM_THREADS={}", threads));
  return result;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> result;
  for (std::string& text : texts) {
    result.push_back(text.data());
  }
  result.push_back(nullptr);
  return result;
}

/// The number after a name in a file of "name number" lines.
std::optional<int64_t> number_after(const std::string& name, const std::string& file) {
  std::ifstream stream(file);
  std::string each;
  for (int64_t count = 0; stream >> each >> count;) {
    if (each == name) {
      return count;
    }
  }
  return std::nullopt;
}

/// `oom_kill` of this process's control group (version 2); else of the whole host.
int64_t out_of_memory_kills() {
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    if (line.starts_with("0::")) {
      const std::string group = line.size() > 4 ? line.substr(3) : "";
      if (const auto count =
              number_after("oom_kill", "/sys/fs/cgroup" + group + "/memory.events")) {
        return *count;
      }
    }
  }
  return number_after("oom_kill", "/proc/vmstat").value_or(0);
}

/// The two structs of posix_spawn, released.
struct SpawnSettings {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  SpawnSettings() {
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
  }
  ~SpawnSettings() {
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
  }
  SpawnSettings(const SpawnSettings&) = delete;
  SpawnSettings& operator=(const SpawnSettings&) = delete;
};

/// Its own group, default signals, no descriptor but standard output and error (both the latter)
/// and the socket.
void isolate(SpawnSettings& settings, int socket) {
  posix_spawn_file_actions_addopen(&settings.actions, 0, "/dev/null", 0, 0);
  posix_spawn_file_actions_adddup2(&settings.actions, 2, 1);
  posix_spawn_file_actions_adddup2(&settings.actions, socket, kRunnerSocket);
  posix_spawn_file_actions_addclosefrom_np(&settings.actions, kRunnerSocket + 1);
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&settings.attributes, &none);
  posix_spawnattr_setsigdefault(&settings.attributes, &all);
  posix_spawnattr_setpgroup(&settings.attributes, 0);
  posix_spawnattr_setflags(&settings.attributes,
                           POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
}

}  // namespace

RunnerProcess::RunnerProcess(std::vector<std::string> command, int threads)
    : kills_before_(out_of_memory_kills()) {
  auto [ours, theirs] = make_socket_pair();
  channel_ = std::make_unique<SocketChannel>(std::move(ours), 0);
  command.insert(command.end(), {"--socket", std::to_string(kRunnerSocket), "--parent",
                                 std::to_string(::getpid())});
  std::vector<std::string> environment = scrubbed_environment(threads);
  SpawnSettings settings;
  isolate(settings, theirs.get());
  const int error =
      ::posix_spawn(&pid_, command[0].c_str(), &settings.actions, &settings.attributes,
                    pointers(command).data(), pointers(environment).data());
  if (error != 0) {
    pid_ = -1;
    throw_transient_error("runner {}: {}", command[0], std::strerror(error));
  }
}

RunnerProcess::~RunnerProcess() { kill(); }

void RunnerProcess::kill() {
  if (pid_ > 0 && !status_) {
    ::kill(-pid_, SIGKILL);
    ::kill(pid_, SIGKILL);
    int status = 0;
    ::waitpid(pid_, &status, 0);
    status_ = status;
  }
}

std::optional<std::string> RunnerProcess::ended() {
  int status = 0;
  if (!status_ && ::waitpid(pid_, &status, WNOHANG) == pid_) {
    status_ = status;
    ::kill(-pid_, SIGKILL);  // Should it have left children.
  }
  if (!status_) {
    return std::nullopt;
  }
  if (WIFSIGNALED(*status_)) {
    const int signal = WTERMSIG(*status_);
    return fmt::format("signal {} ({}){}", signal, ::strsignal(signal),
                       signal != SIGKILL ? ""
                       : out_of_memory() ? " by the out-of-memory killer"
                                         : ", perhaps by the out-of-memory killer");
  }
  return fmt::format("exit code {}", WEXITSTATUS(*status_));
}

bool RunnerProcess::out_of_memory() const {
  return status_ && WIFSIGNALED(*status_) && WTERMSIG(*status_) == SIGKILL &&
         out_of_memory_kills() > kills_before_;
}

int runner_threads(int64_t wanted, int workers_on_host) {
  if (wanted > 0) {
    return static_cast<int>(wanted);
  }
  cpu_set_t set;
  CPU_ZERO(&set);
  const int cores = ::sched_getaffinity(0, sizeof set, &set) == 0
                        ? CPU_COUNT(&set)
                        : static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN));
  return std::max(1, cores / std::max(1, workers_on_host));
}

}  // namespace ropesweep
