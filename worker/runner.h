// The child process that owns the device: takes one task at a time from its shepherd's socket, runs
// it in a thread of its own, and gives signs of life meanwhile. It ends when its shepherd does.
#pragma once

#include <functional>

#include "coordinator/protocol/socket_channel.h"
#include "experiments/error.h"
#include "worker/tasks/task_runner.h"

namespace ropesweep {

/// The device can't be used: a task that was to run on it is not to blame.
class BrokenDevice : public Error {
 public:
  explicit BrokenDevice(const std::string& why) : Error(FailureKind::transient, why) {}
};

/// Runs a task; throws BrokenDevice before it has begun, and then as tasks::TaskRunner::run does.
using RunTask = std::function<Outcome(const Task& task, const GroupPlace& place,
                                      const tasks::TaskContext& context)>;

struct RunnerOptions {
  double heartbeat_seconds = 1;
  double losses_seconds = 2;             ///< at least, between the losses that a fine-tune tells
  double shepherd_silence_seconds = 20;  ///< a shepherd silent for so long is taken for stopped
};

/// Serves the socket until the shepherd says Stop or is gone. Returns the exit code: 0 after Stop;
/// 1 once the device can't be used, or a task failed in a way that may have left it so, or hangs:
/// the answer has been given, and the next runner starts afresh.
int serve_tasks(OwnedDescriptor socket, const RunTask& run_task, const RunnerOptions& options = {});

/// Makes this process end with its parent: it is killed when the parent dies, at once if that has
/// happened.
void die_with_parent(int parent_pid);

}  // namespace ropesweep
