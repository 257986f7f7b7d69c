// What follows from an attempt's end: by the kind of its failure alone.
#pragma once

#include <cstdint>

#include "experiments/error.h"

namespace ropesweep {

enum class Verdict {
  finished,  ///< a result
  diverged,  ///< a result too: kept, never retried, what builds on it is skipped
  retry,     ///< again, elsewhere if there is an elsewhere
  requeue,   ///< again, and this attempt doesn't count
  failed,    ///< final: what builds on it is skipped
};

/// `crashes`: attempts of this task that died before this one (transient and memory failures).
Verdict judge(FailureKind kind, int64_t crashes, int64_t crash_limit);

/// The attempt counts towards the crash limit.
bool is_crash(FailureKind kind);

}  // namespace ropesweep
