// A small sweep for the coordinator's tests: tasks, their outcomes, and a reactor over a loopback
// network with a clock that the test moves.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "coordinator/protocol/loopback_channel.h"
#include "coordinator/reactor.h"
#include "tests/coordinator/fake_store.h"

namespace ropesweep {

inline Task evaluation_task(const std::string& id, const std::string& weights,
                            std::vector<std::string> needs = {}, double flops = 5e10) {
  Task task;
  task.id = id;
  task.kind = TaskKind::evaluation;
  task.weights_key = weights;
  task.needs = std::move(needs);
  task.flops = flops;
  for (const char* suffix : {"-short", "-long"}) {
    Cell cell;
    cell.id = id + suffix;
    cell.fine_tune = task.needs.empty() ? "" : task.needs[0];
    task.cells.push_back(cell);
  }
  return task;
}

inline Task fine_tune_task(const std::string& id, std::vector<std::string> needs = {},
                           double flops = 5e11) {
  Task task;
  task.id = id;
  task.kind = TaskKind::fine_tune;
  task.weights_key = needs.empty() ? "base" : needs[0];
  task.needs = std::move(needs);
  task.fine_tune.id = id;
  task.flops = flops;
  return task;
}

inline Outcome finished(const Task& task, double seconds = 1) {
  Outcome outcome;
  outcome.seconds = seconds;
  for (const Cell& cell : task.cells) {
    CellOutcome result;
    result.cell = cell.id;
    outcome.cells.push_back(result);
  }
  if (task.kind == TaskKind::fine_tune) {
    FineTuneOutcome result;
    result.fine_tune = task.id;
    outcome.fine_tunes.push_back(result);
  }
  return outcome;
}

inline Outcome failure(FailureKind kind, const std::string& what) {
  Outcome outcome;
  outcome.failure_kind = kind;
  outcome.failure = what;
  return outcome;
}

/// Plans the tasks' cells and fine-tunes in a store.
inline void plan(Store& store, const std::vector<Task>& tasks) {
  for (const Task& task : tasks) {
    store.plan(task.cells, task.kind == TaskKind::fine_tune ? std::vector{task.fine_tune}
                                                            : std::vector<FineTune>{});
  }
}

/// A coordinator at rank 0 and workers at 1 … N whose words the test speaks.
class Room {
 public:
  Room(std::vector<Task> tasks, int workers, ReactorOptions options = {})
      : network(workers + 1), tasks_(tasks) {
    plan(store, tasks);
    reactor = std::make_unique<Reactor>(std::move(options), std::move(tasks), store,
                                        network.channel(0), now);
  }

  /// One turn of the coordinator's loop.
  void turn(double seconds = 0) {
    now += seconds;
    while (auto received = network.channel(0).poll()) {
      reactor->on_message(received->first, received->second, now);
    }
    reactor->on_turn(now);
    reactor->commit(now);
  }
  /// A request for work counts the assignments that the worker has listened to.
  void say(int worker, Message message) {
    if (auto* request = std::get_if<RequestWork>(&message)) request->assigned = heard_[worker];
    if (std::holds_alternative<Hello>(message)) heard_[worker] = 0;
    network.channel(worker).send(0, message);
  }
  void enroll(int worker, const std::string& host = "host") {
    say(worker, Hello{host, "cpu", 0, 0});
    say(worker, RequestWork{});
  }
  /// What a worker has been told since it last listened.
  std::vector<Message> told(int worker) {
    std::vector<Message> messages;
    while (auto received = network.channel(worker).poll()) {
      heard_[worker] += std::holds_alternative<Assign>(received->second) ? 1 : 0;
      messages.push_back(received->second);
    }
    return messages;
  }
  template <typename Kind>
  std::vector<Kind> told_of(int worker) {
    std::vector<Kind> result;
    for (const Message& message : told(worker)) {
      if (const auto* wanted = std::get_if<Kind>(&message)) {
        result.push_back(*wanted);
      }
    }
    return result;
  }
  const Task& task(const std::string& id) const {
    for (const Task& each : tasks_) {
      if (each.id == id) {
        return each;
      }
    }
    throw std::out_of_range(id);
  }

  double now = 100;
  FakeStore store;
  LoopbackNetwork network;
  std::unique_ptr<Reactor> reactor;

 private:
  std::vector<Task> tasks_;
  std::map<int, int64_t> heard_;  ///< Assigns, by worker
};

}  // namespace ropesweep
