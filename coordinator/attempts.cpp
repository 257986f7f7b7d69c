// The reactor's other half: how attempts end, what that means for the task and for what needs it.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <bit>
#include <set>

#include "coordinator/reactor.h"
#include "experiments/losses.h"

namespace ropesweep {
namespace {

/// A task has come further when it has done this part more than when it died before.
constexpr double kFurther = 0.05;

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
  std::unordered_map<std::string, int64_t> last;
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
      write_down([&] { store_.skipped(needing.id, reason); });
    }
    for (const Cell& cell : needing.cells) {
      write_down([&] { store_.skipped(cell.id, reason); });
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
      end_attempt(team, failed, "failed", now, {from});
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
    end_attempt(team, outcome, "failed", now, {from});
    return;
  }
  if (leads) {
    team.answer = outcome;
  }
  if (!team.expected.empty()) {
    return;
  }
  if (team.stopped) {
    end_attempt(team, std::move(*team.stopped), "stopped", now, {});
  } else if (team.lost) {
    end_attempt(team, std::move(*team.lost), "failed", now, {});
  } else {
    const bool diverged = team.answer->failure_kind == FailureKind::diverged;
    end_attempt(team, std::move(*team.answer), diverged ? "diverged" : "finished", now, {});
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
                  team.stopped ? "stopped" : "failed", now, {});
    }
  }
}

void Reactor::lose(int rank, WorkerState& worker, const std::string& reason, double now,
                   bool died) {
  teams_.forget(rank);
  if (worker.team) {
    leave_team(rank, worker, reason, now, died);
  }
  hold(worker, kNoWeights);
  look_for_work_ = true;
  judge_workers_ = true;
}

void Reactor::leave_team(int rank, WorkerState& worker, const std::string& reason, double now,
                         bool died) {
  const TeamNumber number = *worker.team;
  Team& team = teams_[number];
  if (team.task) {
    Outcome outcome;
    // Whoever leaves because everyone leaves doesn't crash.
    outcome.failure_kind = leaving_ ? FailureKind::time : FailureKind::transient;
    // It may have answered; the others wait for it all the same.
    outcome.failure = worker.task ? reason : fmt::format("worker {} of its group was lost", rank);
    outcome.seconds = now - team.started;
    const bool at_work = worker.task.has_value();
    worker.task.reset();
    worker.attempt = {};
    // Silence may be the network's.
    end_attempt(team, outcome, "lost", now, {died && at_work ? rank : -1});
  }
  dissolve(number, rank, now);
}

void Reactor::dissolve(TeamNumber number, int lost, double now) {
  const Team& team = teams_[number];
  for (const int member : team.members) {
    WorkerState& worker = workers_[member];
    worker.team.reset();
    if (member != lost && usable(worker) && team.idle.contains(member)) {
      teams_.wait(member, worker.host, now);
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

Trials Reactor::trials_of(TaskIndex index, const Task& tried, double reached) const {
  Trials trials;
  trials.crash_limit = options_.crash_limit;
  const int64_t larger = std::min(2 * teams_.size(), options_.most_team_size);
  trials.can_be_larger = larger > teams_.size() && workers_usable() >= larger;
  const auto found = setbacks_.find(index);
  trials.can_be_thriftier =
      (found == setbacks_.end() ? 0 : found->second.thrift) < most_thrift(tried);
  if (found != setbacks_.end() && reached < found->second.reached + kFurther) {
    trials.crashes = found->second.crashes;
  }
  return trials;
}

void Reactor::end_attempt(Team& team, Outcome outcome, const std::string& status, double now,
                          Culprit culprit) {
  const TaskIndex index = *team.task;
  const Task ended = task(index);
  const double reached = workers_[team.leader()].fraction;
  const Verdict verdict = culprit.device
                              ? Verdict::requeue
                              : judge(outcome.failure_kind, trials_of(index, ended, reached));
  if (verdict == Verdict::failed && outcome.failure_kind == FailureKind::memory) {
    outcome.failure +=
        fmt::format("; it was tried within the least memory{}",
                    options_.most_team_size <= 1 ? " (see run --most-gpus-per-task)" : "");
  }

  AttemptRecord record = record_of(team, ended);
  if (!outcome.device.empty()) {
    record.device = outcome.device;
  }
  record.status = status;
  record.failure_kind = outcome.failure_kind;
  record.failure = outcome.failure;
  record.seconds = now - team.started;
  failures_.observe(record);
  write_down([&] {
    store_.attempt_ended(record, cell_ids(ended.cells), outcome, verdict == Verdict::failed);
  });
  unsynced_ = true;
  look_for_work_ = true;
  if (verdict == Verdict::finished || verdict == Verdict::diverged) {
    any_result_ = true;
    blame_.finished();
    for (const int member : team.members) {
      blame_.device_works(member);
    }
  } else if (culprit.worker >= 0 && !culprit.device &&
             outcome.failure_kind == FailureKind::transient) {
    blame(workers_[culprit.worker], index);
  }
  end_for_members(team, verdict);
  go_on(index, ended, verdict, outcome, record, culprit);
  if (verdict != Verdict::finished && verdict != Verdict::diverged) {
    note_setback(index, outcome, verdict, record, reached);
  } else {
    setbacks_.erase(index);
  }
}

void Reactor::note_setback(TaskIndex index, const Outcome& outcome, Verdict verdict,
                           const AttemptRecord& attempt, double reached) {
  if (outcome.failure_kind == FailureKind::time || verdict == Verdict::failed) {
    return;
  }
  Setback& setback = setbacks_[index];
  ++setback.failures;
  setback.last = outcome.failure;
  setback.host = attempt.host;
  setback.worker = static_cast<int>(attempt.worker);
  setback.wants_larger_team = verdict == Verdict::larger;
  if (verdict != Verdict::requeue && is_crash(outcome.failure_kind, verdict)) {
    // Deaths between which it comes further are not its own.
    setback.crashes = reached < setback.reached + kFurther ? setback.crashes + 1 : 1;
    setback.reached = std::max(setback.reached, reached);
  }
}

void Reactor::go_on(TaskIndex index, const Task& ended, Verdict verdict, const Outcome& outcome,
                    const AttemptRecord& attempt, Culprit culprit) {
  const auto warn = [&](const char* then) {
    spdlog::warn("{}: attempt {} on worker {} ({}): {}: {}", describe(ended), attempt.number,
                 attempt.worker, attempt.host, outcome.failure, then);
  };
  const int elsewhere = culprit.worker >= 0 ? culprit.worker : static_cast<int>(attempt.worker);
  switch (verdict) {
    case Verdict::finished:
      scheduler_.finish(index);
      learn(index, outcome, attempt.number);
      break;
    case Verdict::retry:
      warn("it is tried again");
      scheduler_.give_back(index, place_of(elsewhere));
      break;
    case Verdict::thriftier:
      warn(++setbacks_[index].thrift > 1 ? "it is tried again with micro-batches of one chunk"
                                         : "it is tried again with all that can be recomputed");
      scheduler_.give_back(index);
      break;
    case Verdict::larger:
      setbacks_[index].thrift = 1;
      warn("it waits for more GPUs");
      for_larger_teams_.push_back(index);
      scheduler_.set_aside(index);
      break;
    case Verdict::requeue:
      if (culprit.device) {
        warn("another worker takes it");
      }
      scheduler_.give_back(index, culprit.device ? place_of(elsewhere) : -1);
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

}  // namespace ropesweep
