// The reactor's other half: how attempts end, what that means for the task and for what needs it.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <bit>
#include <set>

#include "coordinator/reactor.h"
#include "experiments/losses.h"

namespace ropesweep {
namespace {

std::string describe(const Task& task) {
  if (task.kind == TaskKind::fine_tune) {
    return fmt::format("fine-tune {} ({}, {}, train scale {})", task.id, task.fine_tune.recipe.name,
                       task.fine_tune.scheme, task.fine_tune.train_scale);
  }
  return fmt::format("evaluation {} ({}, {}, scale {}, {} cells)", task.id, task.dataset.name,
                     task.scheme, task.scale, task.cells.size());
}

}  // namespace

std::string mismatch(const Task& task, const Outcome& outcome) {
  if (outcome.failure_kind != FailureKind::none && outcome.failure_kind != FailureKind::diverged) {
    return "";
  }
  if (task.kind == TaskKind::fine_tune) {
    return outcome.fine_tunes.size() == 1 && outcome.fine_tunes[0].fine_tune == task.id
               ? ""
               : "the runner's answer is not about its fine-tune";
  }
  std::set<std::string> answered;
  for (const CellOutcome& cell : outcome.cells) {
    answered.insert(cell.cell);
  }
  for (const Cell& cell : task.cells) {
    if (answered.erase(cell.id) != 1) {
      return fmt::format("the runner's answer lacks cell {}", cell.id);
    }
  }
  return answered.empty() ? "" : "the runner's answer has cells that it wasn't asked for";
}

void Reactor::number_on_from_the_store() {
  std::unordered_map<std::string_view, int64_t> last;
  for (const AttemptRecord& attempt : store_.contents().attempts) {
    failures_.observe(attempt);
    int64_t& number = last[attempt.task];
    number = std::max(number, attempt.number);
  }
  for (size_t i = 0; i < tasks_.size() && !last.empty(); ++i) {
    if (const auto found = last.find(tasks_.id(i)); found != last.end()) {
      last_attempt_[i] = found->second;
    }
  }
}

void Reactor::skip_what_failed_before() {
  for (const FineTuneRecord& record : store_.contents().fine_tunes) {
    if (record.status != "failed" && record.status != "diverged" && record.status != "skipped") {
      continue;
    }
    const auto found = index_of_.find(record.fine_tune.id);
    if (found != index_of_.end() && scheduler_.state(found->second) != Scheduler::State::failed) {
      const std::string why = record.status == "diverged" ? "diverged"
                              : record.status == "failed" ? "failed: " + record.failure
                                                          : "was skipped: " + record.failure;
      fail_with_dependants(found->second, why, record.status == "diverged");
    }
  }
}

void Reactor::fail_with_dependants(TaskIndex index, const std::string& why, bool diverged) {
  const std::vector<TaskIndex> skipped = scheduler_.fail(index, diverged);
  const std::string reason = fmt::format("{} {}", describe(task(index)), why);
  for (TaskIndex dependant : skipped) {
    const Task& needing = task(dependant);
    if (needing.kind == TaskKind::fine_tune) {
      store_.skipped(needing.id, reason);
    }
    for (const Cell& cell : needing.cells) {
      store_.skipped(cell.id, reason);
    }
    unsynced_ = true;
  }
  if (!skipped.empty()) {
    spdlog::warn("{} tasks are skipped: {}", skipped.size(), reason);
  }
}

std::vector<double> Reactor::medians_for(const Task& task) const {
  const std::vector<std::string>& siblings = task.fine_tune.compared_with;
  std::vector<const Curve*> curves;
  if (siblings.empty()) {
    return medians_of_running_means(curves);
  }
  for (const FineTuneRecord& record : store_.contents().fine_tunes) {
    // A stage whose parent diverged was skipped, and has no curve to be compared with.
    if (std::find(siblings.begin(), siblings.end(), record.fine_tune.id) != siblings.end() &&
        (record.status == "finished" || record.status == "diverged")) {
      curves.push_back(&record.outcome.curve);
    }
  }
  return medians_of_running_means(curves);
}

void Reactor::hear_answer(int from, Team& team, const Done& done, double now) {
  const Outcome& outcome = done.outcome;
  const bool leads = from == team.leader();
  const FailureKind kind = outcome.failure_kind;
  team.expected.erase(from);
  workers_[from].task.reset();
  workers_[from].attempt = {};
  if (leads) {
    if (const std::string wrong = mismatch(task(*team.task), outcome); !wrong.empty()) {
      Outcome failed;
      failed.failure_kind = FailureKind::transient;
      failed.failure = wrong;
      failed.seconds = outcome.seconds;
      end_attempt(team, failed, "failed", now);
      return;
    }
  }
  if (done.lost_member) {
    // The one that was lost has more to say, or the one that stopped first.
    if (!team.lost) {
      team.lost = outcome;
      team.lost_at = now;
    }
  } else if (kind == FailureKind::time) {
    team.stopped = outcome;
  } else if (kind != FailureKind::none && kind != FailureKind::diverged) {
    end_attempt(team, outcome, "failed", now);
    return;
  }
  if (leads) {
    team.answer = outcome;
  }
  if (!team.expected.empty()) {
    return;
  }
  if (team.stopped) {
    end_attempt(team, std::move(*team.stopped), "stopped", now);
  } else if (team.lost) {
    end_attempt(team, std::move(*team.lost), "failed", now);
  } else {
    const bool diverged = team.answer->failure_kind == FailureKind::diverged;
    end_attempt(team, std::move(*team.answer), diverged ? "diverged" : "finished", now);
  }
}

void Reactor::end_lost_attempts(double now) {
  constexpr double patience = 5;
  if (teams_.size() == 1) {
    return;
  }
  for (auto& [number, team] : teams_.all()) {
    if (team.lost && now - team.lost_at > patience) {
      end_attempt(team, team.stopped ? *team.stopped : *team.lost,
                  team.stopped ? "stopped" : "failed", now);
    }
  }
}

void Reactor::lose(int rank, WorkerState& worker, const std::string& reason, double now) {
  teams_.forget(rank);
  if (worker.team) {
    leave_team(rank, worker, reason, now);
  }
  hold(worker, kNoWeights);
  look_for_work_ = true;
}

void Reactor::leave_team(int rank, WorkerState& worker, const std::string& reason, double now) {
  const TeamNumber number = *worker.team;
  Team& team = teams_[number];
  if (team.task) {
    Outcome outcome;
    // Whoever leaves because everyone leaves doesn't crash.
    outcome.failure_kind = leaving_ ? FailureKind::time : FailureKind::transient;
    // It may have answered; the others wait for it all the same.
    outcome.failure = worker.task ? reason : fmt::format("worker {} of its group was lost", rank);
    outcome.seconds = now - team.started;
    worker.task.reset();
    worker.attempt = {};
    end_attempt(team, outcome, "lost", now);
  }
  for (const int member : team.members) {
    workers_[member].team.reset();
    if (member != rank && team.idle.contains(member)) {
      teams_.wait(member, workers_[member].host, now);
    }
  }
  idle_.erase(number);
  teams_.dissolve(number);
}

/// Who tries what, since when.
AttemptRecord Reactor::record_of(const Team& team, const Task& tried) const {
  const WorkerState& leader = workers_.at(team.leader());
  AttemptRecord record;
  record.task = tried.id;
  record.kind = tried.kind == TaskKind::fine_tune ? "fine_tune" : "evaluation";
  record.number = team.attempt.number;
  record.worker = team.leader();
  record.host = leader.host;
  record.device = leader.device;
  record.started_at = wall(team.started);
  return record;
}

void Reactor::end_attempt(Team& team, Outcome outcome, const std::string& status, double now) {
  const TaskIndex index = *team.task;
  const Task ended = task(index);
  int64_t& crashes = crashes_[static_cast<size_t>(index)];
  const Verdict verdict = judge(outcome.failure_kind, crashes, options_.crash_limit);
  const int64_t number = team.attempt.number;

  AttemptRecord record = record_of(team, ended);
  if (!outcome.device.empty()) {
    record.device = outcome.device;
  }
  record.status = status;
  record.failure_kind = outcome.failure_kind;
  record.failure = outcome.failure;
  record.seconds = now - team.started;
  failures_.observe(record);
  store_.attempt_ended(record, cell_ids(ended.cells), outcome, verdict == Verdict::failed);
  unsynced_ = true;
  look_for_work_ = true;
  end_for_members(team, verdict);

  crashes += is_crash(outcome.failure_kind) ? 1 : 0;
  switch (verdict) {
    case Verdict::finished:
      scheduler_.finish(index);
      learn(index, outcome, number);
      break;
    case Verdict::retry:
      spdlog::warn("{}: attempt {} on worker {}: {}: it is tried again", describe(ended), number,
                   record.worker, outcome.failure);
      scheduler_.give_back(index, record.worker);
      break;
    case Verdict::requeue:
      scheduler_.give_back(index);
      break;
    case Verdict::diverged:
      spdlog::warn("{} diverged: {}", describe(ended), outcome.failure);
      fail_with_dependants(index, "diverged", true);
      break;
    case Verdict::failed:
      spdlog::error("{} failed: {}", describe(ended), outcome.failure);
      fail_with_dependants(index, "failed: " + outcome.failure);
      break;
  }
}

void Reactor::end_for_members(Team& team, Verdict verdict) {
  // Runners whose attempt failed have left their group, and one that was told to abandon it dies.
  if (verdict != Verdict::finished && verdict != Verdict::diverged) {
    team.group.clear();
  }
  for (const int member : team.members) {
    WorkerState& worker = workers_[member];
    if (worker.task && team.members.size() > 1 && alive(worker)) {
      channel_.send(member, Abandon{team.attempt});
    }
    worker.task.reset();
    worker.attempt = {};
    worker.fraction = 0;
    worker.what.clear();
  }
  team.end();
}

void Reactor::learn(TaskIndex index, const Outcome& outcome, int64_t attempt) {
  // A later attempt may have gone on from what was saved: its time is not the whole.
  if (attempt > 1) {
    return;
  }
  costs_.observe(task(index), outcome.seconds);
  // New estimates after 1, 2, 4, 8, … results: the cost of all of them stays O(tasks · log² tasks).
  if (!std::has_single_bit(static_cast<uint64_t>(costs_.observations())) || !costs_.has_moved()) {
    return;
  }
  costs_.settle();
  std::vector<double> seconds;
  seconds.reserve(tasks_.size());
  for (size_t i = 0; i < tasks_.size(); ++i) {
    seconds.push_back(costs_.seconds(tasks_.common(i), tasks_.flops(i)));
  }
  scheduler_.estimate(seconds);
}

std::vector<WaitingTask> Reactor::waiting(double now, size_t limit) const {
  std::vector<WaitingTask> result;
  for (TaskIndex index = 0; index < scheduler_.size() && result.size() < limit; ++index) {
    const Scheduler::State state = scheduler_.state(index);
    if (state == Scheduler::State::ready) {
      const bool fits =
          scheduler_.can_save(index) || scheduler_.seconds(index) <= seconds_left(now);
      result.push_back({tasks_.id(static_cast<size_t>(index)),
                        fits ? "waits for a worker"
                             : fmt::format("needs about {:.0f} s, and {:.0f} s are left",
                                           scheduler_.seconds(index), seconds_left(now))});
    } else if (state == Scheduler::State::blocked) {
      std::string needs;
      const Task blocked = task(index);
      std::vector<std::string> before = blocked.needs;
      const std::vector<std::string>& siblings = blocked.fine_tune.compared_with;
      before.insert(before.end(), siblings.begin(), siblings.end());
      for (const std::string& need : before) {
        const auto found = index_of_.find(need);
        if (found != index_of_.end() &&
            scheduler_.state(found->second) != Scheduler::State::finished &&
            scheduler_.state(found->second) != Scheduler::State::failed) {
          needs += (needs.empty() ? "" : ", ") + need;
        }
      }
      result.push_back({blocked.id, "waits for fine-tune " + needs});
    }
  }
  return result;
}

}  // namespace ropesweep
