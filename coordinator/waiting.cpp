// Why tasks wait, in words: for `status`.
#include <spdlog/fmt/fmt.h>

#include "coordinator/progress.h"
#include "coordinator/reactor.h"

namespace ropesweep {

std::vector<WaitingTask> Reactor::waiting(double now, size_t limit) const {
  std::vector<WaitingTask> result;
  for (TaskIndex index = 0; index < scheduler_.size() && result.size() < limit; ++index) {
    const Scheduler::State state = scheduler_.state(index);
    if (state == Scheduler::State::ready || state == Scheduler::State::blocked) {
      const Task waits = task(index);
      result.push_back(
          {waits.id, cell_ids(waits.cells),
           state == Scheduler::State::ready ? why_ready_waits(index, now) : why_blocked(index)});
    }
  }
  return result;
}

std::string Reactor::why_ready_waits(TaskIndex index, double now) const {
  const double seconds = scheduler_.seconds(index), left = seconds_left(now);
  if (!scheduler_.can_save(index) && seconds > left) {
    return fmt::format("takes about {} and {} are left; it can't save: it waits for another run",
                       duration_text(seconds), duration_text(left));
  }
  std::string before;
  if (const auto found = setbacks_.find(index); found != setbacks_.end()) {
    const Setback& setback = found->second;
    const bool elsewhere = scheduler_.avoided(index) >= 0 && teams_alive() > 1;
    before = fmt::format("failed {} (last on worker {}, {}: {}) and ",
                         setback.failures == 1   ? "once"
                         : setback.failures == 2 ? "twice"
                                                 : fmt::format("{} times", setback.failures),
                         setback.worker, setback.host, setback.last);
    if (elsewhere && scheduler_.avoided(index) != setback.worker) {
      return before + "waits for another node";
    }
    if (elsewhere) {
      return before + "waits for another worker";
    }
  }
  if (workers_usable() < teams_.size()) {
    return before + (teams_.size() > 1 ? fmt::format("needs {} workers, and {} are there",
                                                     teams_.size(), workers_usable())
                                       : "no worker is there yet");
  }
  return before + "waits for a worker that is free";
}

std::string Reactor::why_blocked(TaskIndex index) const {
  if (const auto found = setbacks_.find(index);
      found != setbacks_.end() && found->second.wants_larger_team) {
    return fmt::format(
        "ran out of memory on {} GPU{}: needs more, and waits until all that needs fewer has ended",
        teams_.size(), teams_.size() == 1 ? "" : "s");
  }
  std::string needs;
  const Task blocked = task(index);
  std::vector<std::string> before = blocked.needs;
  const std::vector<std::string>& siblings = blocked.fine_tune.compared_with;
  before.insert(before.end(), siblings.begin(), siblings.end());
  for (const std::string& need : before) {
    const auto found = index_of_.find(need);
    if (found != index_of_.end() && scheduler_.state(found->second) != Scheduler::State::finished &&
        scheduler_.state(found->second) != Scheduler::State::failed) {
      needs += (needs.empty() ? "" : ", ") + need + where_it_is(found->second);
    }
  }
  return "waits for fine-tune " + needs;
}

std::string Reactor::where_it_is(TaskIndex index) const {
  switch (scheduler_.state(index)) {
    case Scheduler::State::running:
      for (const auto& [number, team] : teams_.all()) {
        if (team.task == index) {
          const WorkerState& leader = workers_.at(team.leader());
          return fmt::format(", which runs on worker {} ({})", team.leader(), leader.host);
        }
      }
      return ", which runs";
    case Scheduler::State::ready:
      return setbacks_.contains(index)
                 ? fmt::format(", which failed ({}) and waits for its next attempt",
                               setbacks_.at(index).last)
                 : ", which waits for a worker";
    default:
      return ", which waits itself";
  }
}

}  // namespace ropesweep
