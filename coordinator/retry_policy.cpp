// The table of verdicts. User errors and divergence would come again, so they are never retried.
#include "coordinator/retry_policy.h"

namespace ropesweep {

bool is_crash(FailureKind kind, Verdict verdict) {
  return kind == FailureKind::transient ||
         (kind == FailureKind::memory && verdict != Verdict::thriftier &&
          verdict != Verdict::larger);
}

int64_t most_thrift(const Task& task) { return task.kind == TaskKind::fine_tune ? 2 : 1; }

Verdict judge(FailureKind kind, const Trials& trials) {
  switch (kind) {
    case FailureKind::none:
      return Verdict::finished;
    case FailureKind::diverged:
      return Verdict::diverged;
    case FailureKind::time:
      return Verdict::requeue;
    case FailureKind::user:
      return Verdict::failed;
    case FailureKind::memory:
      if (trials.can_be_thriftier) {
        return Verdict::thriftier;
      }
      if (trials.can_be_larger) {
        return Verdict::larger;
      }
      [[fallthrough]];
    case FailureKind::transient:
      return trials.crashes + 1 < trials.crash_limit ? Verdict::retry : Verdict::failed;
  }
  return Verdict::failed;
}

}  // namespace ropesweep
