// Tells a task that hangs from one that takes its time. A process that hangs still gives signs of
// life from its other thread, so the task's own reports of progress are looked at: each pass of the
// model, each piece of data read is one. No clock.
#pragma once

#include <algorithm>

namespace ropesweep {

class ProgressWatch {
 public:
  /// The longest silence seen, times this, is borne.
  static constexpr double kPatienceFactor = 10;

  /// A task begins. `patience`: seconds that are borne before the first report, and always; 0: it
  /// is never taken to hang.
  void begin(double patience, double now) {
    patience_ = patience;
    longest_ = 0;
    last_ = now;
  }
  /// It has come on.
  void progressed(double now) {
    longest_ = std::max(longest_, now - last_);
    last_ = now;
  }
  double silence(double now) const { return now - last_; }
  bool hangs(double now) const {
    return patience_ > 0 && silence(now) > std::max(patience_, kPatienceFactor * longest_);
  }

 private:
  double patience_ = 0, longest_ = 0, last_ = 0;
};

}  // namespace ropesweep
