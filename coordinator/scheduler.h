// Which task an idle worker gets: a pure function of the state kept here and of the time that is
// left. No clock, no I/O, no messages. Indexes, not scans: a choice costs O(log tasks).
//
// Longest first, where a task's length is its critical path: its own seconds and those of the
// longest chain that waits for it. A worker keeps the weights it holds as long as that delays no
// critical task. A task that can't end in the time left isn't started, unless it can save and go on
// later.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace ropesweep {

using TaskIndex = int64_t;
using WeightsIndex = int64_t;  ///< a weights key, numbered
inline constexpr WeightsIndex kNoWeights = -1;
inline constexpr double kNoLimit = std::numeric_limits<double>::infinity();

/// What the scheduler knows of a task.
struct ScheduledTask {
  double seconds = 0;     ///< estimate
  bool can_save = false;  ///< stops and resumes
  std::string weights_key;
  std::vector<TaskIndex> needs;         ///< tasks that must finish first
  std::vector<TaskIndex> follows = {};  ///< … that must finish or diverge first
};

/// Ready tasks that are alike in what matters, longest first.
class ReadySet {
 public:
  void insert(TaskIndex task, double length, bool can_save);
  void erase(TaskIndex task, double length, bool can_save);
  bool empty() const { return saving_.empty() && plain_.empty(); }
  double longest() const;
  /// The longest that may start with `seconds_left` and that `accepts` takes; looks at a few at
  /// most.
  template <typename Accepts>
  std::optional<std::pair<double, TaskIndex>> best(double seconds_left, Accepts accepts) const;

 private:
  using Order = std::set<std::pair<double, TaskIndex>>;  ///< (−length, task)
  Order saving_, plain_;
};

class Scheduler {
 public:
  enum class State { blocked, ready, running, finished, failed };

  /// Errors: std::invalid_argument when `needs` have a cycle or name no task.
  explicit Scheduler(std::vector<ScheduledTask> tasks);

  /// The task for an idle worker, or nothing. `held`: the weights its runner has loaded; `workers`:
  /// those alive; `worker`: its number, so that a task is retried elsewhere.
  std::optional<TaskIndex> choose(int64_t worker, WeightsIndex held, int64_t workers,
                                  double seconds_left = kNoLimit) const;

  // Events.
  void start(TaskIndex task);
  void finish(TaskIndex task);
  /// It ended without a result and is ready again; `avoid`: the worker it failed on, or -1.
  void give_back(TaskIndex task, int64_t avoid = -1);
  /// It ended without a result and is not ready until `take_up`.
  void set_aside(TaskIndex task);
  void take_up(TaskIndex task) { meet(task); }
  /// It failed for good: every task that needs or follows it, directly or not, fails with it and is
  /// returned. It diverged: only what needs it fails, and what follows one of those needn't wait.
  std::vector<TaskIndex> fail(TaskIndex task, bool diverged = false);
  /// A worker's runner holds these weights now, and no longer those.
  void hold(WeightsIndex weights);
  void release(WeightsIndex weights);
  /// New estimates for all tasks, seconds. O(tasks · log tasks).
  void estimate(const std::vector<double>& seconds);

  // State.
  State state(TaskIndex task) const { return tasks_[static_cast<size_t>(task)].state; }
  WeightsIndex weights(TaskIndex task) const { return tasks_[static_cast<size_t>(task)].weights; }
  /// The number of a weights key, kNoWeights when no task has it.
  WeightsIndex weights_index(const std::string& key) const;
  /// The worker that a ready task is not for, -1: none.
  int64_t avoided(TaskIndex task) const { return tasks_[static_cast<size_t>(task)].avoid; }
  double seconds(TaskIndex task) const { return tasks_[static_cast<size_t>(task)].seconds; }
  bool can_save(TaskIndex task) const { return tasks_[static_cast<size_t>(task)].can_save; }
  double critical_path(TaskIndex task) const { return tasks_[static_cast<size_t>(task)].length; }
  int64_t size() const { return static_cast<int64_t>(tasks_.size()); }
  int64_t ready() const { return ready_; }
  int64_t running() const { return running_; }
  int64_t settled() const { return settled_; }
  bool all_settled() const { return settled_ == size(); }
  /// Seconds of work in tasks that are not settled.
  double remaining_seconds() const { return remaining_seconds_; }
  /// No schedule on `workers` is shorter than this from now on: max(critical path, work / workers).
  double lower_bound(int64_t workers) const;

 private:
  struct Entry {
    double seconds = 0;
    double length = 0;  ///< critical path from its start
    bool can_save = false;
    WeightsIndex weights = kNoWeights;
    int64_t unmet = 0;  ///< needs that are not finished, and those it follows
    int64_t avoid = -1;
    State state = State::blocked;
    std::vector<TaskIndex> dependants, followers;
  };
  Entry& entry(TaskIndex task) { return tasks_[static_cast<size_t>(task)]; }
  /// Errors: std::invalid_argument when there is no such task.
  Entry& checked_entry(TaskIndex task);
  const Entry& entry(TaskIndex task) const { return tasks_[static_cast<size_t>(task)]; }
  void order_topologically();
  void compute_lengths();
  void make_ready(TaskIndex task);
  void remove_ready(TaskIndex task);
  /// One that it waited for has settled.
  void meet(TaskIndex task);
  void settle(Entry& entry, State state);
  /// Keeps `unheld_` right around a change of a key's ready set or holders.
  template <typename Change>
  void change_key(WeightsIndex weights, Change change);

  std::vector<Entry> tasks_;
  std::vector<TaskIndex> order_;  ///< every task after what it needs
  std::map<std::string, WeightsIndex> keys_;
  std::vector<int64_t> holders_;  ///< by key: workers that have it loaded
  ReadySet all_;
  std::vector<ReadySet> by_key_;
  std::set<std::pair<double, WeightsIndex>>
      unheld_;  ///< (−longest, key): ready, and loaded nowhere
  int64_t ready_ = 0, running_ = 0, settled_ = 0;
  double remaining_seconds_ = 0;
};

}  // namespace ropesweep
