// The table of verdicts. User errors and divergence would come again, so they are never retried.
#include "coordinator/retry_policy.h"

namespace ropesweep {

bool is_crash(FailureKind kind) {
  return kind == FailureKind::transient || kind == FailureKind::memory;
}

Verdict judge(FailureKind kind, int64_t crashes, int64_t crash_limit) {
  switch (kind) {
    case FailureKind::none:
      return Verdict::finished;
    case FailureKind::diverged:
      return Verdict::diverged;
    case FailureKind::time:
      return Verdict::requeue;
    case FailureKind::user:
      return Verdict::failed;
    case FailureKind::transient:
    case FailureKind::memory:
      return crashes + 1 < crash_limit ? Verdict::retry : Verdict::failed;
  }
  return Verdict::failed;
}

}  // namespace ropesweep
