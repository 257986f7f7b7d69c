// The interval between saves.
#include "worker/tasks/save_interval.h"

#include <algorithm>
#include <cmath>

namespace ropesweep::tasks {

double save_interval(const SaveCost& cost, double seconds_between_failures) {
  constexpr double least = 60, writes_of_interval = 4;
  return std::max({least, writes_of_interval * cost.writing,
                   std::sqrt(2 * cost.pause * std::max(seconds_between_failures, 0.0))});
}

}  // namespace ropesweep::tasks
