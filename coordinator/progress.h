// What the person who waits sees: a bar with an ETA on a terminal, a line a minute elsewhere; and
// live.json, from which `status` shows who does what.
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "coordinator/reactor.h"

namespace ropesweep {

/// The sweep's cells by state, and the work in hand.
struct ProgressCounts {
  int64_t cells = 0, finished = 0, diverged = 0, failed = 0, skipped = 0;
  int64_t fine_tunes = 0, fine_tunes_finished = 0;
  int64_t running = 0;  ///< tasks
  double eta_seconds = 0;
  std::vector<std::string> left_out;  ///< nodes and workers that get no work
};

/// Counts the cells of this sweep (a store may hold others).
ProgressCounts count_progress(const Reactor& reactor, const StoreContents& contents,
                              const std::vector<std::string>& cells);

/// "3 s", "4 min 05 s", "2 h 07 min".
std::string duration_text(double seconds);
/// One line, no longer than `width` columns: bar, counts, ETA.
std::string progress_bar(const ProgressCounts& counts, int width);
/// The same facts as a sentence.
std::string progress_line(const ProgressCounts& counts);

/// Writes to standard error when it is time to.
class ProgressPrinter {
 public:
  /// `width`: columns of the terminal; 0: there is none. `quiet`: say nothing.
  ProgressPrinter(int width, bool quiet) : width_(width), quiet_(quiet) {}
  bool due(double now) const { return !quiet_ && now >= next_; }
  void print(const ProgressCounts& counts, double now);
  /// Says nothing until then.
  void not_before(double time) { next_ = std::max(next_, time); }
  /// Leaves the bar's line.
  void finish(const ProgressCounts& counts);

 private:
  int width_;
  bool quiet_;
  double next_ = 0;
  bool drawn_ = false;
};

/// NAME.d/live.json: {"updated_at", "workers": [{rank, host, device, task, what, fraction, since}],
/// "waiting": [{task, cells, reason}], "left_out": [{what, why}], "eta_seconds"}.
std::string live_text(const Reactor& reactor, double now);

}  // namespace ropesweep
