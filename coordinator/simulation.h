// A sweep in no time: the scheduler's choices on N alike workers, with the cost model's estimates.
#pragma once

#include <vector>

#include "coordinator/cost_model.h"
#include "coordinator/scheduler.h"

namespace ropesweep {

struct Simulation {
  double makespan = 0;       ///< seconds until the last task ends
  double lower_bound = 0;    ///< max(critical path, work / workers): no schedule is shorter
  double critical_path = 0;  ///< the longest chain of tasks
  double total_seconds = 0;  ///< of all tasks
};

/// What the scheduler knows of tasks. `needs` that are no tasks here are finished already.
std::vector<ScheduledTask> scheduled_tasks(const std::vector<Task>& tasks, const CostModel& costs);

Simulation simulate(const std::vector<Task>& tasks, const CostModel& costs, int64_t workers);

}  // namespace ropesweep
