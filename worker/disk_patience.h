// A disk that is full or fails for a while costs a task no attempt: its runner waits and begins the
// task again, which goes on from what was saved.
#pragma once

#include <atomic>
#include <functional>
#include <string>

#include "experiments/task.h"

namespace ropesweep {

struct DiskPatience {
  double seconds = 0;  ///< since the first of failures in a row; 0: none is waited for
  const std::atomic<bool>* stop = nullptr;  ///< the wait ends
  /// What it waits for, every second or so; must return at once.
  std::function<void(const std::string& what)> report;
};

/// What `run` returns. A FileError of it that may pass is waited for, 1, 3, 9, 27, 60, 60, … s, and
/// `run` called again, until they have gone on for the patience. A run that lasted longer than that
/// begins a new row. Errors: those of `run`; time, when told to stop while it waits.
Outcome run_patiently(const std::function<Outcome()>& run, const DiskPatience& patience);

}  // namespace ropesweep
