// What the coordinator does about each event: a message, a lost process, the passing of time, a
// wish to stop. State changes, journal records and messages follow; no clock is read and no socket
// is in sight, so tests drive it with a loopback channel and a time of their own.
//
// Order of a result: Done → the store's record → sync, once for all results of a loop turn →
// Acknowledge. Every try is numbered (across restarts too); an answer from any but the current one
// is dropped.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "coordinator/blame.h"
#include "coordinator/cost_model.h"
#include "coordinator/failure_rate.h"
#include "coordinator/protocol/channel.h"
#include "coordinator/retry_policy.h"
#include "coordinator/scheduler.h"
#include "coordinator/teams.h"
#include "experiments/task_pool.h"
#include "storage/store.h"

namespace ropesweep {

struct ReactorOptions {
  int64_t crash_limit = 3;        ///< attempts that may die before a task fails
  double suspicion_seconds = 30;  ///< a worker silent for so long is taken for lost
  double heartbeat_seconds = 1;   ///< between the coordinator's signs of life
  double time_limit_seconds =
      kNoLimit;  ///< from the start; work that remains then waits for another run
  double save_margin_seconds = 30;      ///< before the limit: running tasks are told to save
  double grace_seconds = 90;            ///< workers told to stop may take so long to save
  double farewell_seconds = 5;          ///< … and so long to leave when there is nothing to save
  double wall_offset = 0;               ///< seconds since 1970 at time 0
  int64_t team_size = 1;                ///< workers that a task takes
  int64_t most_team_size = 1;           ///< … that ran out of memory on fewer
  double hang_seconds = 900;            ///< a runner without progress for so long hangs; 0: never
  double disk_patience_seconds = 1800;  ///< a runner waits so long for a disk that fails
  std::string groups_directory;  ///< where teams of several meet; a directory of its own each
  std::string host;              ///< of the coordinator, with its pid
  int64_t pid = 0;
};

/// A worker as the coordinator sees it.
struct WorkerState {
  std::string host, device;
  int64_t pid = 0;
  double last_heard = 0;
  bool suspect = false;        ///< silent for too long: nothing is sent to it until it speaks
  bool gone = false;           ///< said goodbye, or its process has ended
  bool left_in_order = false;  ///< gone with a goodbye
  std::string left_out;        ///< why it gets no work; empty: it does
  int64_t assigned = 0;        ///< Assigns sent since its Hello
  WeightsIndex held = kNoWeights;
  std::optional<TeamNumber> team;
  std::optional<TaskIndex> task;  ///< its team's, until it has answered
  AttemptId attempt;
  double started = 0;
  double fraction = 0;
  std::string what;
};

/// Why a task is not running.
struct WaitingTask {
  std::string task;
  std::vector<std::string> cells;  ///< ids; of a fine-tune none
  std::string reason;
};

/// A node, or one worker of it, that gets no work.
struct LeftOut {
  std::string what;  ///< "node a", "worker 3 (host a, cuda)"
  std::string why;
};
/// "WHAT: WHY; WHAT: WHY".
std::string text_of(const std::vector<LeftOut>& left_out);

class Reactor {
 public:
  /// `tasks`: what is to be done, from make_tasks. Attempts are numbered on from those in the
  /// store; tasks that need what failed or diverged earlier are skipped.
  Reactor(ReactorOptions options, TaskPool tasks, Store& store, Channel& channel, double now);

  // Events; `now` is in seconds and never goes back.
  void on_message(int from, const Message& message, double now);
  /// The process of that rank has ended.
  void on_process_gone(int rank, double now);
  /// Signs of life, suspicion, the time limit; gives out work. Once a loop turn.
  void on_turn(double now);
  /// Signs of life for the workers, when they are due; for where a turn takes long.
  void show_life(double now);
  /// Syncs what this turn recorded and acknowledges it. Errors of the store are retried for a
  /// minute.
  void commit(double now);
  /// No more work is given out; workers save and leave.
  void begin_stop(const std::string& reason, double now);

  /// Everything is settled, or everyone has left: the loop may end.
  bool over(double now) const;
  bool all_settled() const { return scheduler_.all_settled(); }
  bool stopping() const { return leaving_; }
  /// Why work remains undone, for the person: "" as long as nothing went wrong.
  const std::string& trouble() const { return trouble_; }
  /// The trouble is the machine's (exit code 1), not the end of the time.
  bool broken() const { return broken_; }
  /// Every worker that ever spoke has said goodbye.
  bool all_left_in_order() const;

  // For progress and live.json.
  const std::map<int, WorkerState>& workers() const { return workers_; }
  Task task(TaskIndex index) const { return tasks_[static_cast<size_t>(index)]; }
  const Scheduler& scheduler() const { return scheduler_; }
  std::vector<WaitingTask> waiting(double now, size_t limit) const;
  std::vector<LeftOut> left_out() const;
  double eta_seconds() const;
  double wall(double now) const { return options_.wall_offset + now; }

 private:
  void on_hello(int from, const Hello& hello, double now);
  void on_request_work(int from, const RequestWork& request, double now);
  void on_heartbeat(int from, const Heartbeat& heartbeat);
  void on_losses(int from, const Losses& losses);
  void on_done(int from, const Done& done, double now);
  void on_goodbye(int from, const Goodbye& goodbye, double now);

  void number_on_from_the_store();
  void skip_what_failed_before();
  /// What a write that failed leaves is met again by commit.
  template <typename Write>
  void write_down(Write write) {
    try {
      write();
    } catch (const Error&) {
      unsynced_ = true;
    }
  }

  // waiting.cpp
  std::string why_ready_waits(TaskIndex index, double now) const;
  std::string why_blocked(TaskIndex index) const;
  std::string where_it_is(TaskIndex index) const;

  // health.cpp: who is fit to work
  void suspect_the_silent(double now);
  /// Blames the node on which a task died.
  void blame(const WorkerState& worker, TaskIndex task);
  void device_failed(int rank, const std::string& why);
  /// Decides afresh who gets no work; never the last who could.
  void judge_workers();
  void leave_out(int rank, WorkerState& worker, const std::string& why);
  void check_for_trouble(double now);
  bool usable(const WorkerState& worker) const { return alive(worker) && worker.left_out.empty(); }
  int64_t workers_usable() const;
  /// There is a ready task that may start with the time that is left.
  bool any_fits(double now) const;
  /// Where a retry goes by: the host, or, while all that work are on one, the worker.
  int64_t place_of(int rank) const;

  void give_out_work(double now);
  /// All that remains has run out of memory: teams of more workers take it up.
  void enlarge_teams(double now);
  void assign(Team& team, TaskIndex task, double now);
  /// A member of the team has answered.
  void hear_answer(int from, Team& team, const Done& done, double now);
  /// Attempts whose members lost one that has not said why.
  void end_lost_attempts(double now);
  /// `died`: its process ended; else it is silent, or has left.
  void lose(int rank, WorkerState& worker, const std::string& reason, double now,
            bool died = false);
  void leave_team(int rank, WorkerState& worker, const std::string& reason, double now, bool died);
  AttemptRecord record_of(const Team& team, const Task& tried) const;
  /// Ends a team that is on no task; its idle members wait for another, but for `lost`.
  void dissolve(TeamNumber team, int lost, double now);
  /// Whom a failed attempt speaks against.
  struct Culprit {
    int worker = -1;      ///< -1: nobody's node
    bool device = false;  ///< the worker's device, and not the task
  };
  void end_attempt(Team& team, Outcome outcome, const std::string& status, double now,
                   Culprit culprit);
  void end_for_members(Team& team, Verdict verdict);
  Trials trials_of(TaskIndex index, const Task& tried, double reached) const;
  void note_setback(TaskIndex task, const Outcome& outcome, Verdict verdict,
                    const AttemptRecord& attempt, double reached);
  /// The task is tried again, or not.
  void go_on(TaskIndex index, const Task& ended, Verdict verdict, const Outcome& outcome,
             const AttemptRecord& attempt, Culprit culprit);
  void fail_with_dependants(TaskIndex task, const std::string& why, bool diverged = false);
  /// What the median rule of a fine-tune compares with; empty where it has no siblings.
  std::vector<double> medians_for(const Task& task) const;
  void learn(TaskIndex task, const Outcome& outcome, int64_t attempt);
  void hold(WorkerState& worker, WeightsIndex weights);
  void leave(bool save, double now, double limit);
  /// The weights that all of a team's runners hold.
  WeightsIndex held_by(const Team& team) const;
  bool alive(const WorkerState& worker) const { return !worker.gone && !worker.suspect; }
  int64_t workers_alive() const;
  bool any_team_usable() const;  ///< enough workers for one
  int64_t teams_alive() const;   ///< at most: of as many workers
  double seconds_left(double now) const;

  ReactorOptions options_;
  TaskPool tasks_;
  Store& store_;
  Channel& channel_;
  CostModel costs_;
  FailureRate failures_;
  Scheduler scheduler_;
  std::unordered_map<std::string, TaskIndex> index_of_;  ///< of fine-tunes
  /// Of a task that failed in this run.
  struct Setback {
    int64_t failures = 0;
    int64_t crashes = 0;  ///< in a row, without coming further
    double reached = 0;   ///< the fraction, at most
    std::string last;     ///< failure
    std::string host;     ///< … and where
    int worker = 0;
    bool wants_larger_team = false;
    int64_t thrift = 0;  ///< of the next attempt
  };
  std::vector<int64_t> last_attempt_;  ///< by task
  std::unordered_map<TaskIndex, Setback> setbacks_;
  std::vector<TaskIndex> for_larger_teams_;
  Blame blame_;
  bool judge_workers_ = false, any_result_ = false;
  std::vector<std::string> hosts_in_use_;        ///< of usable workers
  std::map<std::string, int64_t> host_numbers_;  ///< in the order in which they came
  std::map<int, WorkerState> workers_;
  Teams teams_;
  std::set<TeamNumber> idle_;
  std::vector<std::pair<int, AttemptId>> to_acknowledge_;
  bool look_for_work_ = true, unsynced_ = false;
  double next_beat_ = 0, next_look_ = 0, next_sync_ = 0, sync_failing_since_ = -1;
  bool leaving_ = false, broken_ = false;
  double leave_by_ = kNoLimit;
  double nobody_since_ = -1;
  std::string trouble_;
};

/// The failure of an outcome that doesn't answer its task, or "".
std::string mismatch(const Task& task, const Outcome& outcome);

}  // namespace ropesweep
