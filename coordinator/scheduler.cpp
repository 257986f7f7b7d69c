// The scheduler's indexes: ready tasks by length over all, by weights key, and the keys that no
// worker holds by their longest task.
#include "coordinator/scheduler.h"

#include <algorithm>
#include <stdexcept>

namespace ropesweep {
namespace {

/// Candidates looked at before a choice gives up on finding one that a worker need not avoid.
constexpr int kLook = 16;
/// A chain is urgent at this part of what each worker has before it. At 1, a hundred random sweeps
/// (tests/coordinator/simulation_test.cpp) end up to 5 % above their bounds, and 16 % when their
/// estimates are wrong; at a half it is 1 % and 2 %, at the price of some loads of weights.
constexpr double kUrgent = 0.5;

}  // namespace

void ReadySet::insert(TaskIndex task, double length, bool can_save) {
  (can_save ? saving_ : plain_).emplace(-length, task);
}

void ReadySet::erase(TaskIndex task, double length, bool can_save) {
  (can_save ? saving_ : plain_).erase({-length, task});
}

double ReadySet::longest() const {
  double length = 0;
  for (const Order* order : {&saving_, &plain_}) {
    if (!order->empty()) {
      length = std::max(length, -order->begin()->first);
    }
  }
  return length;
}

template <typename Accepts>
std::optional<std::pair<double, TaskIndex>> ReadySet::best(double seconds_left,
                                                           Accepts accepts) const {
  std::optional<std::pair<double, TaskIndex>> found;
  const auto look = [&](const Order& order, Order::const_iterator first) {
    for (int looked = 0; first != order.end() && looked < kLook; ++first, ++looked) {
      if (accepts(first->second)) {
        if (!found || -first->first > found->first) {
          found = {-first->first, first->second};
        }
        return;
      }
    }
  };
  look(saving_, saving_.begin());
  // Nothing waits for a task that can't save, so its length is its own seconds.
  look(plain_, plain_.lower_bound({-seconds_left, -1}));
  return found;
}

Scheduler::Scheduler(std::vector<ScheduledTask> tasks) {
  tasks_.resize(tasks.size());
  for (size_t i = 0; i < tasks.size(); ++i) {
    Entry& task = tasks_[i];
    task.seconds = tasks[i].seconds;
    task.can_save = tasks[i].can_save;
    task.unmet = static_cast<int64_t>(tasks[i].needs.size() + tasks[i].follows.size());
    task.weights =
        keys_.emplace(tasks[i].weights_key, static_cast<WeightsIndex>(keys_.size())).first->second;
    remaining_seconds_ += task.seconds;
    for (TaskIndex need : tasks[i].needs) {
      checked_entry(need).dependants.push_back(static_cast<TaskIndex>(i));
    }
    for (TaskIndex before : tasks[i].follows) {
      checked_entry(before).followers.push_back(static_cast<TaskIndex>(i));
    }
  }
  holders_.resize(keys_.size());
  by_key_.resize(keys_.size());
  order_topologically();
  compute_lengths();
  for (TaskIndex task = 0; task < size(); ++task) {
    if (entry(task).unmet == 0) {
      make_ready(task);
    }
  }
}

Scheduler::Entry& Scheduler::checked_entry(TaskIndex task) {
  if (task < 0 || task >= size()) {
    throw std::invalid_argument("a task waits for one that isn't there");
  }
  return entry(task);
}

void Scheduler::order_topologically() {
  std::vector<int64_t> unmet(tasks_.size());
  for (size_t i = 0; i < tasks_.size(); ++i) {
    unmet[i] = tasks_[i].unmet;
    if (unmet[i] == 0) {
      order_.push_back(static_cast<TaskIndex>(i));
    }
  }
  for (size_t next = 0; next < order_.size(); ++next) {
    const Entry& met = entry(order_[next]);
    for (const auto* waiting : {&met.dependants, &met.followers}) {
      for (TaskIndex task : *waiting) {
        if (--unmet[static_cast<size_t>(task)] == 0) {
          order_.push_back(task);
        }
      }
    }
  }
  if (order_.size() != tasks_.size()) {
    throw std::invalid_argument("tasks need each other in a circle");
  }
}

void Scheduler::compute_lengths() {
  for (auto task = order_.rbegin(); task != order_.rend(); ++task) {
    double longest = 0;
    for (const auto* waiting : {&entry(*task).dependants, &entry(*task).followers}) {
      for (TaskIndex later : *waiting) {
        longest = std::max(longest, entry(later).length);
      }
    }
    entry(*task).length = entry(*task).seconds + longest;
  }
}

std::optional<TaskIndex> Scheduler::choose(int64_t worker, WeightsIndex held, int64_t workers,
                                           double seconds_left) const {
  const auto accepts = [&](TaskIndex task) { return workers < 2 || entry(task).avoid != worker; };
  const auto longest = all_.best(seconds_left, accepts);
  if (!longest) {
    return std::nullopt;
  }
  // Started much later than now, a task above this share would lengthen the sweep.
  const double share = remaining_seconds_ / static_cast<double>(std::max<int64_t>(workers, 1));
  if (longest->first > kUrgent * share) {
    // Among equals, still the one whose weights are there.
    if (held != kNoWeights) {
      const auto local = by_key_[static_cast<size_t>(held)].best(seconds_left, accepts);
      if (local && local->first >= longest->first) {
        return local->second;
      }
    }
    return longest->second;
  }
  if (held != kNoWeights) {
    if (const auto local = by_key_[static_cast<size_t>(held)].best(seconds_left, accepts)) {
      return local->second;
    }
  }
  int looked = 0;
  for (auto key = unheld_.begin(); key != unheld_.end() && looked < kLook; ++key, ++looked) {
    if (const auto fresh = by_key_[static_cast<size_t>(key->second)].best(seconds_left, accepts)) {
      return fresh->second;
    }
  }
  return longest->second;
}

template <typename Change>
void Scheduler::change_key(WeightsIndex weights, Change change) {
  const auto key = static_cast<size_t>(weights);
  unheld_.erase({-by_key_[key].longest(), weights});
  change(key);
  if (holders_[key] == 0 && !by_key_[key].empty()) {
    unheld_.emplace(-by_key_[key].longest(), weights);
  }
}

void Scheduler::make_ready(TaskIndex index) {
  Entry& task = entry(index);
  task.state = State::ready;
  ++ready_;
  all_.insert(index, task.length, task.can_save);
  change_key(task.weights,
             [&](size_t key) { by_key_[key].insert(index, task.length, task.can_save); });
}

void Scheduler::remove_ready(TaskIndex index) {
  const Entry& task = entry(index);
  --ready_;
  all_.erase(index, task.length, task.can_save);
  change_key(task.weights,
             [&](size_t key) { by_key_[key].erase(index, task.length, task.can_save); });
}

void Scheduler::start(TaskIndex task) {
  remove_ready(task);
  entry(task).state = State::running;
  ++running_;
}

void Scheduler::settle(Entry& task, State state) {
  task.state = state;
  ++settled_;
  remaining_seconds_ = std::max(0.0, remaining_seconds_ - task.seconds);
}

void Scheduler::finish(TaskIndex task) {
  --running_;
  settle(entry(task), State::finished);
  for (TaskIndex dependant : entry(task).dependants) {
    meet(dependant);
  }
  for (TaskIndex follower : entry(task).followers) {
    meet(follower);
  }
}

void Scheduler::meet(TaskIndex task) {
  if (--entry(task).unmet == 0 && entry(task).state == State::blocked) {
    make_ready(task);
  }
}

void Scheduler::give_back(TaskIndex task, int64_t avoid) {
  --running_;
  entry(task).avoid = avoid;
  make_ready(task);
}

void Scheduler::set_aside(TaskIndex task) {
  --running_;
  entry(task).avoid = -1;
  entry(task).state = State::blocked;
  entry(task).unmet = 1;
}

std::vector<TaskIndex> Scheduler::fail(TaskIndex index, bool diverged) {
  if (state(index) == State::ready) {
    remove_ready(index);
  } else if (state(index) == State::running) {
    --running_;
  }
  settle(entry(index), State::failed);
  std::vector<TaskIndex> skipped;
  std::vector<TaskIndex> open = {index};
  const auto skip = [&](TaskIndex task) {
    if (entry(task).state == State::blocked) {
      settle(entry(task), State::failed);
      skipped.push_back(task);
      open.push_back(task);
    }
  };
  while (!open.empty()) {
    const TaskIndex next = open.back();
    open.pop_back();
    for (TaskIndex dependant : entry(next).dependants) {
      skip(dependant);
    }
    for (TaskIndex follower : entry(next).followers) {
      diverged ? meet(follower) : skip(follower);
    }
  }
  return skipped;
}

void Scheduler::hold(WeightsIndex weights) {
  if (weights != kNoWeights) {
    change_key(weights, [&](size_t key) { ++holders_[key]; });
  }
}

void Scheduler::release(WeightsIndex weights) {
  if (weights != kNoWeights) {
    change_key(weights, [&](size_t key) { --holders_[key]; });
  }
}

void Scheduler::estimate(const std::vector<double>& seconds) {
  std::vector<TaskIndex> waiting;
  for (TaskIndex task = 0; task < size(); ++task) {
    if (state(task) == State::ready) {
      remove_ready(task);
      waiting.push_back(task);
    }
  }
  remaining_seconds_ = 0;
  for (size_t i = 0; i < tasks_.size(); ++i) {
    tasks_[i].seconds = seconds.at(i);
    if (tasks_[i].state != State::finished && tasks_[i].state != State::failed) {
      remaining_seconds_ += seconds[i];
    }
  }
  compute_lengths();
  for (TaskIndex task : waiting) {
    make_ready(task);
  }
}

WeightsIndex Scheduler::weights_index(const std::string& key) const {
  const auto found = keys_.find(key);
  return found == keys_.end() ? kNoWeights : found->second;
}

double Scheduler::lower_bound(int64_t workers) const {
  double bound = remaining_seconds_ / static_cast<double>(std::max<int64_t>(workers, 1));
  for (TaskIndex task : order_) {
    if (state(task) == State::ready || state(task) == State::running) {
      bound = std::max(bound, critical_path(task));
    }
  }
  return bound;
}

}  // namespace ropesweep
