// What follows from an attempt's end: by the kind of its failure and what was tried before.
#pragma once

#include <cstdint>

#include "experiments/task.h"

namespace ropesweep {

enum class Verdict {
  finished,   ///< a result
  diverged,   ///< a result too: kept, never retried, what builds on it is skipped
  retry,      ///< again, elsewhere if there is an elsewhere
  thriftier,  ///< again, within less memory (most_thrift)
  larger,     ///< again, on more devices
  requeue,    ///< again, and this attempt doesn't count
  failed,     ///< final: what builds on it is skipped
};

/// What has been tried with a task, and what may be.
struct Trials {
  int64_t crashes = 0;      ///< attempts in a row that died and came no further
  int64_t crash_limit = 3;  ///< the last of so many is final
  bool can_be_thriftier = false;
  bool can_be_larger = false;  ///< the sweep allows more devices a task, and they are there
};

/// A task that ran out of memory is tried within less, then on more devices, before such attempts
/// count as crashes.
Verdict judge(FailureKind kind, const Trials& trials);

/// The attempt counts towards the crash limit.
bool is_crash(FailureKind kind, Verdict verdict);

/// How far a task can do with less memory than planned (tasks::Thrift): a fine-tune recomputes all
/// activations at 1 and takes micro-batches of one chunk at 2; an evaluation passes samples one by
/// one at 1.
int64_t most_thrift(const Task& task);

}  // namespace ropesweep
