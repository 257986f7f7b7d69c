// The row of failures and the pauses between them.
#include "worker/disk_patience.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "experiments/output_file.h"

namespace ropesweep {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

void pause(double seconds, const FileError& failure, const DiskPatience& patience) {
  const Clock::time_point start = Clock::now();
  double waited = 0, next_report = 0;
  while (waited < seconds) {
    if (*patience.stop) {
      throw Error(FailureKind::time, fmt::format("stopped while it waited: {}", failure.what()));
    }
    if (waited >= next_report) {
      patience.report(fmt::format("tries again in {:.0f} s: {}", seconds - waited, failure.what()));
      next_report = waited + 1;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    waited = seconds_since(start);
  }
}

}  // namespace

Outcome run_patiently(const std::function<Outcome()>& run, const DiskPatience& patience) {
  constexpr double kLongestPause = 60;
  Clock::time_point first_failure;
  double next_pause = 0;  // 0: no failure yet in this row
  while (true) {
    const Clock::time_point start = Clock::now();
    try {
      return run();
    } catch (const FileError& failure) {
      if (!failure.may_pass() || patience.seconds <= 0) throw;
      if (next_pause == 0 || seconds_since(start) > patience.seconds) {
        first_failure = Clock::now();
        next_pause = 1;
      }
      const double left = patience.seconds - seconds_since(first_failure);
      if (left <= 0) throw;
      pause(std::min(next_pause, left), failure, patience);
      next_pause = std::min(3 * next_pause, kLongestPause);
    }
  }
}

}  // namespace ropesweep
