// What no schedule can beat. The demand on the scheduler is a share above this.
//
// max(critical path, work / workers) is not to be reached by a sweep that begins with a few
// fine-tunes while all else waits for them, nor by three equal tasks on two workers. So two more:
//
// Waiting: after s seconds at most W(s) of the work can be done, with workers without number; what
// is left takes the workers (total − W(s)) / workers from there on. Likewise from the end, where
// V(u) is what can be done in the last u seconds. T ≥ s + u + (total − W(s) − V(u)) / workers for
// every s and u (while something is left), which are maximised apart.
//
// Pieces: of the k·workers + 1 longest tasks some worker gets k + 1, and they take at least what
// the k + 1 shortest of them take.
#pragma once

#include <cstdint>
#include <vector>

#include "coordinator/scheduler.h"

namespace ropesweep {

struct Bounds {
  double critical_path = 0;  ///< the longest chain of tasks, seconds
  double work = 0;           ///< seconds of all tasks, and of the loads that must be
  double waiting = 0;        ///< by what must wait; at least work / workers
  double pieces = 0;         ///< by tasks that can't be cut
  double best() const;       ///< the highest
};

/// `seconds`: of each task. `load_seconds`: a worker's that begins with other weights than it has;
/// each weights key is loaded once at least.
Bounds bounds(const std::vector<ScheduledTask>& tasks, const std::vector<double>& seconds,
              int64_t workers, double load_seconds = 0);

}  // namespace ropesweep
