// Events are the ends of tasks, in the order of time.
#include "coordinator/simulation.h"

#include <algorithm>
#include <queue>
#include <tuple>
#include <unordered_map>

namespace ropesweep {
namespace {

/// An evaluation goes on at its next sample; one of a single sample starts again.
bool has_several_samples(const Task& task) { return task.dataset.samples != 1; }

/// The workers and what they hold, until all is done.
class Run {
 public:
  Run(const std::vector<ScheduledTask>& tasks, const std::vector<double>& seconds,
      const SimulationOptions& options)
      : scheduler_(tasks),
        seconds_(seconds),
        options_(options),
        held_(static_cast<size_t>(options.workers), kNoWeights) {
    for (int64_t worker = options.workers; worker-- > 0;) {
      idle_.push_back(worker);
    }
  }

  /// Seconds until the last task ends.
  double makespan() {
    while (true) {
      give_out();
      if (ends_.empty()) {
        return now_;
      }
      const auto [time, worker, task] = ends_.top();
      ends_.pop();
      now_ = time;
      scheduler_.finish(task);
      idle_.push_back(worker);
    }
  }

 private:
  using End = std::tuple<double, int64_t, TaskIndex>;  ///< time, worker, task

  void give_out() {
    while (!idle_.empty() && scheduler_.ready() > 0) {
      const int64_t worker = idle_.back();
      WeightsIndex& held = held_[static_cast<size_t>(worker)];
      const auto task = scheduler_.choose(worker, held, options_.workers);
      if (!task) {
        return;
      }
      idle_.pop_back();
      scheduler_.start(*task);
      const WeightsIndex wanted = scheduler_.weights(*task);
      const double load = wanted == held ? 0 : options_.load_seconds;
      scheduler_.release(held);
      scheduler_.hold(wanted);
      held = wanted;
      ends_.emplace(now_ + load + seconds_[static_cast<size_t>(*task)], worker, *task);
    }
  }

  Scheduler scheduler_;
  const std::vector<double>& seconds_;
  const SimulationOptions& options_;
  std::priority_queue<End, std::vector<End>, std::greater<>> ends_;
  std::vector<WeightsIndex> held_;
  std::vector<int64_t> idle_;
  double now_ = 0;
};

}  // namespace

std::vector<ScheduledTask> scheduled_tasks(const TaskPool& tasks, const CostModel& costs) {
  // Only fine-tunes are waited for, and they are few.
  std::unordered_map<std::string, TaskIndex> index;
  for (size_t i = 0; i < tasks.size(); ++i) {
    if (tasks.kind(i) == TaskKind::fine_tune) {
      index.emplace(tasks.id(i), static_cast<TaskIndex>(i));
    }
  }
  std::vector<ScheduledTask> result;
  result.reserve(tasks.size());
  for (size_t i = 0; i < tasks.size(); ++i) {
    const Task task = tasks[i];
    ScheduledTask entry;
    entry.seconds = costs.seconds(task);
    entry.can_save = task.kind == TaskKind::fine_tune || has_several_samples(task);
    entry.weights_key = task.weights_key;
    const auto add = [&index](const std::vector<std::string>& ids,
                              std::vector<TaskIndex>& tasks_of) {
      for (const std::string& id : ids) {
        if (const auto found = index.find(id); found != index.end()) {
          tasks_of.push_back(found->second);
        }
      }
    };
    add(task.needs, entry.needs);
    add(task.fine_tune.compared_with, entry.follows);
    result.push_back(std::move(entry));
  }
  return result;
}

Simulation simulate(const std::vector<ScheduledTask>& tasks, const SimulationOptions& options) {
  std::vector<double> seconds = options.seconds;
  if (seconds.empty()) {
    for (const ScheduledTask& task : tasks) {
      seconds.push_back(task.seconds);
    }
  }
  Simulation result;
  result.bounds = bounds(tasks, seconds, options.workers, options.load_seconds);
  for (const double each : seconds) {
    result.total_seconds += each;
  }
  result.critical_path = result.bounds.critical_path;
  const auto workers = static_cast<double>(options.workers);
  result.lower_bound = std::max(result.critical_path, result.total_seconds / workers);
  result.makespan = Run(tasks, seconds, options).makespan();
  if (result.makespan > 0) {
    result.idle_share = 1 - result.total_seconds / (workers * result.makespan);
  }
  return result;
}

Simulation simulate(const TaskPool& tasks, const CostModel& costs, int64_t workers) {
  SimulationOptions options;
  options.workers = workers;
  return simulate(scheduled_tasks(tasks, costs), options);
}

}  // namespace ropesweep
