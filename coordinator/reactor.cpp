// Messages and time: who is alive, who gets what. How attempts end is in attempts.cpp.
#include "coordinator/reactor.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cmath>

#include "coordinator/simulation.h"

namespace ropesweep {
namespace {

/// A worker with nothing to do asks again after so long, should the answer to its request be lost.
constexpr double kAskAgainSeconds = 5;
/// The silent are looked for so often: not at every turn, workers may be many.
constexpr double kLookSeconds = 0.25;
/// A store that can't be written is tried again after so long, and given up after a minute.
constexpr double kSyncRetrySeconds = 5;
constexpr double kSyncGiveUpSeconds = 60;

}  // namespace

Reactor::Reactor(ReactorOptions options, TaskPool tasks, Store& store, Channel& channel, double now)
    : options_(std::move(options)),
      tasks_(std::move(tasks)),
      store_(store),
      channel_(channel),
      scheduler_(scheduled_tasks(tasks_, costs_)),
      last_attempt_(tasks_.size()),
      teams_(options_.team_size),
      nobody_since_(now) {
  options_.time_limit_seconds += now;
  for (size_t i = 0; i < tasks_.size(); ++i) {
    if (tasks_.kind(i) == TaskKind::fine_tune) {
      index_of_.emplace(tasks_.id(i), static_cast<TaskIndex>(i));
    }
  }
  number_on_from_the_store();
  skip_what_failed_before();
}

void Reactor::on_message(int from, const Message& message, double now) {
  WorkerState& worker = workers_[from];
  worker.last_heard = now;
  if (worker.suspect) {
    spdlog::info("worker {} speaks again", from);
    worker.suspect = false;  // It asks for work when it has none.
    judge_workers_ = true;
  }
  if (const auto* hello = std::get_if<Hello>(&message)) {
    on_hello(from, *hello, now);
  } else if (const auto* request = std::get_if<RequestWork>(&message)) {
    on_request_work(from, *request, now);
  } else if (const auto* heartbeat = std::get_if<Heartbeat>(&message)) {
    on_heartbeat(from, *heartbeat);
  } else if (const auto* losses = std::get_if<Losses>(&message)) {
    on_losses(from, *losses);
  } else if (const auto* done = std::get_if<Done>(&message)) {
    on_done(from, *done, now);
  } else if (const auto* goodbye = std::get_if<Goodbye>(&message)) {
    on_goodbye(from, *goodbye, now);
  } else {
    spdlog::warn("worker {} sent a message that only a coordinator sends; dropped", from);
  }
}

void Reactor::on_hello(int from, const Hello& hello, double now) {
  WorkerState& worker = workers_[from];
  if (worker.task || worker.team) {
    lose(from, worker, fmt::format("worker {} started afresh", from), now);
  }
  worker.host = hello.host;
  host_numbers_.emplace(hello.host, static_cast<int64_t>(host_numbers_.size()));
  worker.device = hello.device;
  worker.pid = hello.pid;
  worker.gone = false;
  worker.left_in_order = false;
  worker.assigned = 0;
  judge_workers_ = true;
  channel_.send(from, CoordinatorAlive{options_.host, options_.pid});
  if (leaving_) {
    channel_.send(from, Stop{false});
  }
}

void Reactor::on_request_work(int from, const RequestWork& request, double now) {
  WorkerState& worker = workers_[from];
  if (worker.task && request.assigned < worker.assigned) {
    return;  // It asked before the task had reached it.
  }
  if (worker.task) {
    lose(from, worker, fmt::format("worker {} asks for work in the middle of an attempt", from),
         now);
  }
  hold(worker, scheduler_.weights_index(request.loaded_weights));
  if (!worker.left_out.empty()) {
    if (worker.team && !teams_[*worker.team].task) {
      dissolve(*worker.team, from, now);
    }
  } else if (!worker.team) {
    teams_.wait(from, worker.host, now);
  } else {
    Team& team = teams_[*worker.team];
    team.idle.insert(from);
    if (team.all_idle() && !team.task) {
      idle_.insert(*worker.team);
      look_for_work_ = true;
    }
  }
  channel_.send(from, Wait{kAskAgainSeconds});
}

void Reactor::on_heartbeat(int from, const Heartbeat& heartbeat) {
  WorkerState& worker = workers_[from];
  if (heartbeat.attempt.task.empty()) {
    return;
  }
  if (!worker.task || heartbeat.attempt != worker.attempt) {
    channel_.send(from, Abandon{heartbeat.attempt});
    return;
  }
  worker.fraction =
      std::isfinite(heartbeat.fraction) ? std::clamp(heartbeat.fraction, 0.0, 1.0) : 0;
  worker.what = heartbeat.what;
}

/// Not synced for its own sake: what is lost is told again by the next attempt.
void Reactor::on_losses(int from, const Losses& losses) {
  const WorkerState& worker = workers_[from];
  if (worker.task && losses.attempt == worker.attempt && from == teams_[*worker.team].leader() &&
      losses.so_far.fine_tune == losses.attempt.task) {
    write_down([&] { store_.losses(losses.so_far); });
  }
}

void Reactor::on_done(int from, const Done& done, double now) {
  WorkerState& worker = workers_[from];
  if (!worker.task || done.attempt != worker.attempt) {
    spdlog::info("stale answer of worker {} for task {}, attempt {}: dropped", from,
                 done.attempt.task, done.attempt.number);
    channel_.send(from, Acknowledge{done.attempt});
    return;
  }
  to_acknowledge_.emplace_back(from, done.attempt);
  if (done.device_broken) {
    device_failed(from, done.outcome.failure);
    Team& team = teams_[*worker.team];
    team.expected.erase(from);
    worker.task.reset();
    worker.attempt = {};
    end_attempt(team, done.outcome, "failed", now, {from, true});
    return;
  }
  hear_answer(from, teams_[*worker.team], done, now);
}

void Reactor::on_goodbye(int from, const Goodbye& goodbye, double now) {
  WorkerState& worker = workers_[from];
  if (!leaving_) {
    spdlog::warn("worker {} leaves: {}", from, goodbye.reason);
  }
  lose(from, worker, fmt::format("worker {} left: {}", from, goodbye.reason), now);
  worker.gone = true;
  worker.left_in_order = true;
}

void Reactor::on_process_gone(int rank, double now) {
  WorkerState& worker = workers_[rank];
  if (worker.gone) {
    return;
  }
  spdlog::warn("worker {} on {} has died (process {})", rank, worker.host, worker.pid);
  lose(rank, worker, fmt::format("worker {} on {} died", rank, worker.host), now, true);
  worker.gone = true;
  channel_.abandon(rank);
}

void Reactor::on_turn(double now) {
  if (now >= next_look_) {
    next_look_ = now + kLookSeconds;
    suspect_the_silent(now);
  }
  end_lost_attempts(now);
  judge_workers();
  show_life(now);
  if (!leaving_) {
    if (scheduler_.all_settled()) {
      if (!unsynced_) {  // Nobody leaves before all is on the disk, which may take its time.
        leave(false, now, options_.farewell_seconds);
      }
    } else if (seconds_left(now) <= 0) {
      begin_stop("the time is over", now);
    } else {
      // What can't be recorded is not begun.
      if (sync_failing_since_ < 0) {
        enlarge_teams(now);
        give_out_work(now);
      }
      check_for_trouble(now);
    }
  }
}

void Reactor::show_life(double now) {
  if (now < next_beat_) {
    return;
  }
  next_beat_ = now + options_.heartbeat_seconds;
  for (const auto& [rank, worker] : workers_) {
    if (alive(worker)) {
      channel_.send(rank, CoordinatorAlive{options_.host, options_.pid});
    }
  }
}

void Reactor::give_out_work(double now) {
  for (const TeamNumber formed : teams_.form(now)) {
    for (const int member : teams_[formed].members) {
      workers_[member].team = formed;
    }
    idle_.insert(formed);
    look_for_work_ = true;
  }
  if (!look_for_work_ || scheduler_.ready() == 0) {
    return;
  }
  look_for_work_ = false;
  const int64_t alive_count = teams_alive();
  for (auto next = idle_.begin(); next != idle_.end() && scheduler_.ready() > 0;) {
    Team& team = teams_[*next];
    const auto chosen =
        scheduler_.choose(place_of(team.leader()), held_by(team), alive_count, seconds_left(now));
    if (chosen) {
      next = idle_.erase(next);
      assign(team, *chosen, now);
    } else {
      ++next;
    }
  }
}

WeightsIndex Reactor::held_by(const Team& team) const {
  const WeightsIndex held = workers_.at(team.leader()).held;
  const bool all = std::all_of(team.members.begin(), team.members.end(),
                               [&](int member) { return workers_.at(member).held == held; });
  return all ? held : kNoWeights;
}

void Reactor::assign(Team& team, TaskIndex index, double now) {
  const auto i = static_cast<size_t>(index);
  // A runner that was started anew is in no group.
  if (held_by(team) == kNoWeights) {
    team.group.clear();
  }
  scheduler_.start(index);
  Task task = tasks_[i];
  team.begin(index, {task.id, ++last_attempt_[i]}, now);
  GroupPlace place;
  place.size = teams_.size();
  if (place.size > 1) {
    if (team.group.empty()) {
      team.group = fmt::format("{}-{}", team.attempt.task, team.attempt.number);
    }
    place.name = team.group;
    place.directory = fmt::format("{}/{}", options_.groups_directory, team.group);
  }
  AttemptRecord record = record_of(team, task);
  record.status = "running";
  record.cells = cell_ids(task.cells);
  write_down([&] { store_.attempt_started(record); });
  unsynced_ = true;
  task.workers.gpus_per_task = teams_.size();
  task.sibling_medians = medians_for(task);
  task.seconds_between_failures = failures_.seconds_between_failures();
  Assign assignment{team.attempt, std::move(task), place};
  assignment.patience =
      options_.hang_seconds > 0 ? std::max(options_.hang_seconds, scheduler_.seconds(index)) : 0;
  assignment.disk_patience = options_.disk_patience_seconds;
  if (const auto found = setbacks_.find(index); found != setbacks_.end()) {
    assignment.thrift = found->second.thrift;
  }
  for (const int member : team.members) {
    WorkerState& worker = workers_[member];
    hold(worker, scheduler_.weights(index));
    worker.task = index;
    worker.attempt = team.attempt;
    worker.started = now;
    worker.fraction = 0;
    worker.what = "starts";
    channel_.send(member, assignment);
    ++worker.assigned;
    ++assignment.place.rank;
  }
}

void Reactor::hold(WorkerState& worker, WeightsIndex weights) {
  if (weights != worker.held) {
    scheduler_.release(worker.held);
    scheduler_.hold(weights);
    worker.held = weights;
  }
}

void Reactor::begin_stop(const std::string& reason, double now) {
  if (!leaving_) {
    trouble_ = reason;
    leave(true, now, options_.grace_seconds);
  }
}

void Reactor::leave(bool save, double now, double limit) {
  leaving_ = true;
  leave_by_ = now + limit;
  for (const auto& [rank, worker] : workers_) {
    if (alive(worker)) {
      channel_.send(rank, Stop{save});
    }
  }
}

void Reactor::commit(double now) {
  if (!unsynced_ || now < next_sync_) {
    return;
  }
  try {
    store_.sync();
    if (sync_failing_since_ >= 0) {
      spdlog::info("the store can be written again");
    }
    sync_failing_since_ = -1;
    unsynced_ = false;
  } catch (const Error& error) {
    if (sync_failing_since_ < 0) {
      sync_failing_since_ = now;
      spdlog::error(
          "the store can't be written: {}; results are kept in memory, and it is tried again for "
          "{:.0f} s",
          error.what(), kSyncGiveUpSeconds);
    }
    next_sync_ = now + kSyncRetrySeconds;
    if (now - sync_failing_since_ >= kSyncGiveUpSeconds && !broken_) {
      broken_ = true;
      trouble_ = fmt::format("the store could not be written for {:.0f} s: {}",
                             now - sync_failing_since_, error.what());
      leave(true, now, options_.farewell_seconds);
    }
    return;
  }
  for (const auto& [rank, attempt] : to_acknowledge_) {
    if (alive(workers_[rank])) {
      channel_.send(rank, Acknowledge{attempt});
    }
  }
  to_acknowledge_.clear();
}

bool Reactor::over(double now) const {
  return leaving_ && (workers_alive() == 0 || now >= leave_by_);
}

bool Reactor::all_left_in_order() const {
  return std::all_of(workers_.begin(), workers_.end(),
                     [](const auto& worker) { return worker.second.left_in_order; });
}

void Reactor::enlarge_teams(double now) {
  if (for_larger_teams_.empty() || scheduler_.running() > 0 || scheduler_.ready() > 0) {
    return;
  }
  std::vector<TeamNumber> numbers;
  for (const auto& [number, team] : teams_.all()) {
    numbers.push_back(number);
  }
  for (const TeamNumber number : numbers) {
    dissolve(number, -1, now);
  }
  teams_.resize(std::min(2 * teams_.size(), options_.most_team_size));
  spdlog::warn("{} tasks ran out of memory: from now on {} workers take each task",
               for_larger_teams_.size(), teams_.size());
  for (const TaskIndex task : for_larger_teams_) {
    setbacks_[task].wants_larger_team = false;
    scheduler_.take_up(task);
  }
  for_larger_teams_.clear();
  look_for_work_ = judge_workers_ = true;
}

int64_t Reactor::workers_alive() const {
  return std::count_if(workers_.begin(), workers_.end(),
                       [this](const auto& worker) { return alive(worker.second); });
}

int64_t Reactor::teams_alive() const {
  return std::max<int64_t>(1, workers_usable() / teams_.size());
}

double Reactor::seconds_left(double now) const {
  return options_.time_limit_seconds - options_.save_margin_seconds - now;
}

double Reactor::eta_seconds() const {
  double done = 0, longest = 0;
  for (const auto& [number, team] : teams_.all()) {
    if (team.task) {
      const double passed = workers_.at(team.leader()).fraction * scheduler_.seconds(*team.task);
      done += passed;
      longest = std::max(longest, scheduler_.critical_path(*team.task) - passed);
    }
  }
  return std::max(longest, std::max(0.0, scheduler_.remaining_seconds() - done) /
                               static_cast<double>(teams_alive()));
}

}  // namespace ropesweep
