// How often workers die, as the attempts of a sweep tell, in all its runs.
#pragma once

#include <cstdint>

#include "storage/results.h"

namespace ropesweep {

class FailureRate {
 public:
  /// An attempt that has ended.
  void observe(const AttemptRecord& attempt);
  /// Mean time between failures of one worker, seconds: (a day + all the time worked) / (1 +
  /// failures), so that neither the first failure nor its absence says too much.
  double seconds_between_failures() const;

 private:
  double seconds_ = 0;
  int64_t failures_ = 0;
};

}  // namespace ropesweep
