// Counting attempts that died.
#include "coordinator/failure_rate.h"

#include <algorithm>

#include "experiments/task.h"

namespace ropesweep {

void FailureRate::observe(const AttemptRecord& attempt) {
  seconds_ += std::max(attempt.seconds, 0.0);
  failures_ += attempt.failure_kind == FailureKind::transient ? 1 : 0;
}

double FailureRate::seconds_between_failures() const {
  return (kSecondsBetweenFailures + seconds_) / static_cast<double>(1 + failures_);
}

}  // namespace ropesweep
