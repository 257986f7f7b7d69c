// A sweep in no time: the scheduler's choices on N alike workers, by the cost model's estimates or
// with tasks that take longer or shorter than was thought.
#pragma once

#include <vector>

#include "coordinator/bounds.h"
#include "coordinator/cost_model.h"
#include "coordinator/scheduler.h"
#include "experiments/task_pool.h"

namespace ropesweep {

struct Simulation {
  double makespan = 0;       ///< seconds until the last task ends
  double lower_bound = 0;    ///< max(critical path, work / workers)
  Bounds bounds;             ///< what no schedule can beat, closer: bounds.best()
  double critical_path = 0;  ///< the longest chain of tasks
  double total_seconds = 0;  ///< of all tasks
  double idle_share = 0;     ///< of the workers' time until the last task ends
};

/// What the scheduler knows of tasks. `needs` that are no tasks here are finished already.
std::vector<ScheduledTask> scheduled_tasks(const TaskPool& tasks, const CostModel& costs);

struct SimulationOptions {
  int64_t workers = 1;
  double load_seconds = 0;  ///< of a worker that begins a task with other weights than it has
  std::vector<double> seconds = {};  ///< what each task really takes; empty: its estimate
};

Simulation simulate(const std::vector<ScheduledTask>& tasks, const SimulationOptions& options);
/// By the estimates.
Simulation simulate(const TaskPool& tasks, const CostModel& costs, int64_t workers);

}  // namespace ropesweep
