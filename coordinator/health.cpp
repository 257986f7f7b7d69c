// The reactor's eye on its workers: who is silent, which node or device is not fit to work, and
// when too few are left. A node is left out only while others can do its work.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cmath>

#include "coordinator/reactor.h"

namespace ropesweep {
namespace {

/// Hosts as places of retries lie beyond all workers' numbers.
constexpr int64_t kFirstHost = int64_t{1} << 40;
/// So many different tasks died one after the other, without a result, where nothing else is left.
constexpr size_t kHopeless = 2 * Blame::kTasks;

}  // namespace

std::string text_of(const std::vector<LeftOut>& left_out) {
  std::string text;
  for (const LeftOut& each : left_out) {
    text += fmt::format("{}{}: {}", text.empty() ? "" : "; ", each.what, each.why);
  }
  return text;
}

void Reactor::suspect_the_silent(double now) {
  for (auto& [rank, worker] : workers_) {
    if (alive(worker) && now - worker.last_heard > options_.suspicion_seconds) {
      spdlog::warn("worker {} on {} has been silent for {:.0f} s: taken for lost", rank,
                   worker.host, now - worker.last_heard);
      lose(rank, worker,
           fmt::format("worker {} on {} was silent for {:.0f} s", rank, worker.host,
                       now - worker.last_heard),
           now);
      worker.suspect = true;
      channel_.abandon(rank);
    }
  }
}

void Reactor::blame(const WorkerState& worker, TaskIndex task) {
  blame_.killed(worker.host, task);
  judge_workers_ = true;
}

void Reactor::device_failed(int rank, const std::string& why) {
  blame_.device_failed(rank, why);
  judge_workers_ = true;
}

void Reactor::judge_workers() {
  if (!judge_workers_ || leaving_) {
    return;
  }
  judge_workers_ = false;
  look_for_work_ = true;
  struct Host {
    size_t killed = 0;
    int64_t workers = 0;
    std::string why;
  };
  std::map<std::string, Host> hosts;
  for (const auto& [rank, worker] : workers_) {
    if (alive(worker) && blame_.broken_device(rank).empty()) {
      ++hosts[worker.host].workers;
    }
  }
  std::vector<std::pair<size_t, std::string>> order;  ///< the fittest first
  for (auto& [name, host] : hosts) {
    host.killed = blame_.blames(name) ? blame_.tasks_killed(name) : 0;
    order.emplace_back(host.killed, name);
  }
  std::sort(order.begin(), order.end());
  hosts_in_use_.clear();
  int64_t enough = 0;
  for (const auto& [killed, name] : order) {
    if (killed == 0 || enough < teams_.size()) {
      enough += hosts[name].workers;
      hosts_in_use_.push_back(name);
    } else {
      hosts[name].why = fmt::format("{} different tasks died on it, and on no other node", killed);
    }
  }
  for (auto& [rank, worker] : workers_) {
    if (!alive(worker)) {
      continue;
    }
    const std::string broken = blame_.broken_device(rank);
    const std::string why = !broken.empty()               ? broken
                            : hosts.contains(worker.host) ? hosts[worker.host].why
                                                          : "";
    if (why.empty() != worker.left_out.empty()) {
      leave_out(rank, worker, why);
    }
  }
}

void Reactor::leave_out(int rank, WorkerState& worker, const std::string& why) {
  worker.left_out = why;
  if (why.empty()) {
    spdlog::info("worker {} on {} gets work again", rank, worker.host);
    return;  // It asks.
  }
  spdlog::error("worker {} on {} ({}) is left out: {}", rank, worker.host, worker.device, why);
  teams_.forget(rank);
  if (worker.team && !teams_[*worker.team].task) {
    dissolve(*worker.team, rank, worker.last_heard);
  }
}

std::vector<LeftOut> Reactor::left_out() const {
  std::vector<LeftOut> result;
  std::set<std::string> nodes;
  for (const auto& [rank, worker] : workers_) {
    if (worker.left_out.empty()) {
      continue;
    }
    if (!blame_.broken_device(rank).empty()) {
      result.push_back(
          {fmt::format("worker {} ({}, {})", rank, worker.host, worker.device), worker.left_out});
    } else if (nodes.insert(worker.host).second) {
      result.push_back({"node " + worker.host, worker.left_out});
    }
  }
  return result;
}

void Reactor::check_for_trouble(double now) {
  const bool too_few = !any_team_usable();
  nobody_since_ = !too_few ? -1 : nobody_since_ < 0 ? now : nobody_since_;
  const auto blamed = [this](const std::string& host) { return blame_.blames(host); };
  if (too_few && now - nobody_since_ > options_.suspicion_seconds) {
    const int64_t remain = scheduler_.size() - scheduler_.settled();
    const int64_t usable_count = workers_usable();
    const std::vector<LeftOut> without = left_out();
    if (workers_alive() > 0 && !without.empty()) {
      trouble_ = fmt::format("too few workers can work, and {} tasks remain: {}", remain,
                             text_of(without));
      // Without any result another try would end the same way.
      broken_ = !any_result_;
    } else {
      trouble_ = usable_count == 0
                     ? fmt::format("no worker is left and {} tasks remain", remain)
                     : fmt::format(
                           "{} workers are left, a task takes {} (gpus_per_task), and {} tasks "
                           "remain",
                           usable_count, teams_.size(), remain);
      broken_ = true;
    }
    leave(false, now, workers_alive() > 0 ? options_.farewell_seconds : 0);
  } else if (blame_.in_a_row() >= kHopeless && !hosts_in_use_.empty() &&
             std::all_of(hosts_in_use_.begin(), hosts_in_use_.end(), blamed)) {
    begin_stop(
        fmt::format("{} different tasks died one after the other on {}, and no other node is "
                    "there to try them",
                    blame_.in_a_row(), fmt::join(hosts_in_use_, ", ")),
        now);
  } else if (scheduler_.running() == 0 && scheduler_.ready() > 0 && !look_for_work_ &&
             !idle_.empty() && !any_fits(now)) {
    begin_stop("no task that remains fits into the time that is left", now);
  }
}

bool Reactor::any_fits(double now) const {
  for (TaskIndex index = 0; index < scheduler_.size(); ++index) {
    if (scheduler_.state(index) == Scheduler::State::ready &&
        (scheduler_.can_save(index) || scheduler_.seconds(index) <= seconds_left(now))) {
      return true;
    }
  }
  return false;
}

bool Reactor::any_team_usable() const {
  int64_t wanted = teams_.size();
  return std::any_of(workers_.begin(), workers_.end(),
                     [&](const auto& worker) { return usable(worker.second) && --wanted == 0; });
}

int64_t Reactor::workers_usable() const {
  return std::count_if(workers_.begin(), workers_.end(),
                       [this](const auto& worker) { return usable(worker.second); });
}

int64_t Reactor::place_of(int rank) const {
  if (teams_.size() > 1 || hosts_in_use_.size() < 2) {
    return rank;
  }
  const auto number = host_numbers_.find(workers_.at(rank).host);
  return number == host_numbers_.end() ? rank : kFirstHost + number->second;
}

}  // namespace ropesweep
