// How long a task will take: its FLOPs by a rate, refined by what ran in this sweep. Tasks of one
// class (a fine-tune, or an evaluation of one kind of data set) share a rate; a class that has not
// run yet takes the mean rate of those that have. Several devices of one task share its FLOPs.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "experiments/task.h"

namespace ropesweep {

class CostModel {
 public:
  /// What a device is taken to do before anything has run, FLOP/s.
  static constexpr double kPriorRate = 5e10;
  /// Starting a task costs at least this, seconds.
  static constexpr double kMinimumSeconds = 0.05;

  /// From a task's start to its end.
  double seconds(const Task& task) const { return seconds(task, task.flops); }
  /// Of a task like this one, with FLOPs of its own.
  double seconds(const Task& alike, double flops) const;
  /// A task ran from start to end in `seconds`.
  void observe(const Task& task, double seconds);
  int64_t observations() const { return observations_; }
  /// A rate is no longer what it was at the last `settle`, by more than 5 %: estimates are due.
  bool has_moved() const;
  void settle();

 private:
  struct Rate {
    double flops = 0, seconds = 0;
    double settled = 0;  ///< FLOP/s at the last `settle`
    bool has_moved() const;
  };
  static std::string class_of(const Task& task);

  std::map<std::string, Rate> rates_;
  Rate all_;
  int64_t observations_ = 0;
};

}  // namespace ropesweep
