// Runs a task on a device: what the runner process and the commands `eval` and `finetune` call.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "experiments/outcome.h"
#include "experiments/task.h"

namespace ropesweep::tasks {

/// What a running task tells its caller, and how it is told to stop.
struct TaskContext {
  /// Fraction done in [0, 1] and one line of what goes on; called often, must return at once.
  std::function<void(double fraction, const std::string& what)> progress;
  /// Set by another thread or a signal handler: save what can be saved and throw Error(time).
  const std::atomic<bool>* stop = nullptr;
};

/// Keeps the last models loaded (by Task::weights_key and type), so that tasks that follow with the same
/// weights start at once.
class TaskRunner {
 public:
  /// `device` cpu | cuda | cuda:N | auto. Errors: user error when there is no such device.
  TaskRunner(const std::string& device, int threads);
  ~TaskRunner();

  /// Errors: ropesweep::Error with its kind (a diverged fine-tune is not an error: its outcome says so);
  /// std::bad_alloc when memory ends.
  Outcome run(const Task& task, const TaskContext& context);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace ropesweep::tasks
