// How a task's loops talk to their caller: progress out, the wish to stop in.
#pragma once

#include <string>

#include "experiments/error.h"
#include "worker/tasks/sample_share.h"
#include "worker/tasks/task_runner.h"

namespace ropesweep::tasks {

inline bool stop_requested(const TaskContext& context) {
  return context.stop != nullptr && context.stop->load(std::memory_order_relaxed);
}

/// Errors: Error(time) when a stop was requested.
inline void throw_if_stopped(const TaskContext& context) {
  if (stop_requested(context)) throw Error(FailureKind::time, "stopped on request; run it again");
}

/// The same when any of a group was told to; all its ranks call it.
inline void throw_if_stopped(const TaskContext& context, const SampleShare& share) {
  if (share.any(stop_requested(context))) {
    throw Error(FailureKind::time, "stopped on request; run it again");
  }
}

inline void report_progress(const TaskContext& context, double fraction, const std::string& what) {
  if (context.progress) context.progress(fraction < 0 ? 0 : fraction > 1 ? 1 : fraction, what);
}

}  // namespace ropesweep::tasks
