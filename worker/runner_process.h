// A runner as its shepherd holds it: a child process with a socket, in a process group of its own,
// with nothing of MPI in its environment.
#pragma once

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/protocol/socket_channel.h"

namespace ropesweep {

class RunnerProcess {
 public:
  /// Starts `command` with `--socket FD --parent PID` appended. `threads` becomes OMP_NUM_THREADS.
  /// Errors: Error(transient) when it can't be started.
  RunnerProcess(std::vector<std::string> command, int threads);
  /// Kills it and all of its group.
  ~RunnerProcess();
  RunnerProcess(const RunnerProcess&) = delete;
  RunnerProcess& operator=(const RunnerProcess&) = delete;

  SocketChannel& channel() { return *channel_; }
  pid_t pid() const { return pid_; }
  /// How it ended ("exit code 3", "signal 11 (Segmentation fault)"), or nothing while it runs.
  std::optional<std::string> ended();
  /// It was killed while the kernel's out-of-memory killer killed something in this control group,
  /// or, where that doesn't count, on this host.
  bool out_of_memory() const;
  void kill();

 private:
  std::unique_ptr<SocketChannel> channel_;
  pid_t pid_ = -1;
  std::optional<int> status_;  ///< of waitpid
  int64_t kills_before_ = 0;   ///< by the control group's out-of-memory killer
};

/// Threads for a runner: `wanted` when above 0, else this process's share of the cores it may use.
int runner_threads(int64_t wanted, int workers_on_host);

}  // namespace ropesweep
