// The worker's rank: speaks with the coordinator and keeps a runner. It is thin and hard to kill: a
// crash, a hang or the out-of-memory killer takes the runner only; the shepherd reports that
// attempt and starts another runner.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/protocol/channel.h"
#include "worker/runner_process.h"

namespace ropesweep {

/// What a runner gets of its host.
struct RunnerShare {
  int threads = 1;
  int device_index = 0;  ///< this worker's number among its host's: which of the GPUs is its own
};

struct ShepherdOptions {
  std::vector<std::string> runner_command;  ///< the program and its arguments
  std::string device;
  int64_t local_rank = 0;
  std::function<RunnerShare(const std::string& coordinator_host)> share;
  double heartbeat_seconds = 1;
  double runner_silence_seconds = 60;       ///< a runner silent for so long hangs
  double orphan_seconds = 40;               ///< … and so long it may come back after its silence
  double coordinator_silence_seconds = 20;  ///< shorter than the coordinator's own suspicion, so
                                            ///< that a task given to another no longer runs here
};

class Shepherd {
 public:
  Shepherd(ShepherdOptions options, Channel& coordinator, double now);

  /// Handles all that has happened; `now` in seconds.
  void turn(double now);
  /// Nothing is left to do: the rank may leave.
  bool over() const { return over_; }
  /// The coordinator said Stop and got a Goodbye: the others leave too.
  bool in_order() const { return in_order_; }
  /// Save what can be saved, then leave.
  void request_stop(const std::string& reason);
  /// Waits for the runner or `seconds`.
  void wait(double seconds);
  /// The runner's process, -1: none.
  pid_t runner_pid() const { return runner_ ? runner_->pid() : -1; }
  /// The coordinator's process if it runs on this host, else -1.
  int64_t coordinator_pid() const { return coordinator_pid_; }

 private:
  void hear_coordinator(const Message& message, double now);
  void on_assign(const Assign& assign, double now);
  void on_stop(const Stop& stop);
  void hear_runner(double now);
  void watch_runner(double now);
  void start_runner(double now);
  void end_runner();
  void fail_attempt(FailureKind kind, const std::string& what, bool device_broken = false);
  /// The coordinator may have given the attempt to another: it no longer runs here.
  void give_up_attempt(const std::string& why, double now);
  void ask_for_work(double now);
  void leave(const std::string& reason);

  ShepherdOptions options_;
  Channel& coordinator_;
  std::unique_ptr<RunnerProcess> runner_;
  std::string host_, coordinator_host_;
  int64_t coordinator_pid_ = -1;
  std::optional<AttemptId> attempt_;
  int64_t assigned_ = 0;          ///< Assigns heard
  std::string weights_, loaded_;  ///< the current task's weights; what the runner holds
  double fraction_ = 0;
  std::string what_;
  std::vector<AttemptId> unacknowledged_;
  double last_turn_, last_heard_, last_beat_of_runner_ = 0, next_beat_ = 0, ask_at_ = 0;
  double start_runner_at_ = 0;
  bool stopping_ = false, over_ = false, in_order_ = false;
  bool alone_ = false;          ///< the coordinator is silent
  bool runner_failed_ = false;  ///< the last one could not be started
  bool runner_spoke_ = false;   ///< this runner has come up
  std::string stop_reason_;
};

}  // namespace ropesweep
