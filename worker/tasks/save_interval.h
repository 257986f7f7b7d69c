// How often a fine-tune saves its state: what saving costs against what a failure would.
#pragma once

namespace ropesweep::tasks {

/// Seconds.
struct SaveCost {
  double pause = 0;    ///< training waits
  double writing = 0;  ///< until it is on the disk; the pause is a part of it
};

/// Seconds of training between two saves: √(2 C M), which loses the least time in expectation
/// (Young 1974, "A first order approximation to the optimum checkpoint interval"), where C is the
/// pause and M the mean time between failures of what trains; but no less than a minute, and than
/// four times the writing, since others use the file system too.
double save_interval(const SaveCost& cost, double seconds_between_failures);

}  // namespace ropesweep::tasks
