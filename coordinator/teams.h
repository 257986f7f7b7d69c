// Which workers work together. A task goes to a team of as many workers as it takes devices
// ([workers] gpus_per_task); a worker alone is a team of one. Teams are made of workers that wait
// for one, of one host where that can be, and last until a member is lost. No clock, no messages.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "coordinator/protocol/messages.h"
#include "coordinator/scheduler.h"

namespace ropesweep {

using TeamNumber = int64_t;

/// A team and the attempt that it is on.
struct Team {
  std::vector<int> members;  ///< workers; the first leads: what it answers counts
  std::set<int> idle;        ///< members that have asked for work
  std::string group;         ///< name of the group that their runners keep; empty: a new one is due
  // the attempt
  std::optional<TaskIndex> task;
  AttemptId attempt;
  double started = 0;
  std::set<int> expected;          ///< members that have not answered yet
  std::optional<Outcome> answer;   ///< the leader's
  std::optional<Outcome> stopped;  ///< of a member that was told to stop
  std::optional<Outcome> lost;     ///< of a member that lost another
  double lost_at = 0;

  int leader() const { return members.front(); }
  bool all_idle() const { return idle.size() == members.size(); }
  void begin(TaskIndex index, AttemptId id, double now);
  void end();
};

class Teams {
 public:
  /// `size` ≥ 1: members of a team.
  explicit Teams(int64_t size) : size_(size) {}

  int64_t size() const { return size_; }
  /// From now on teams have so many members; there are none now.
  void resize(int64_t size) { size_ = size; }

  /// A worker without a team has nothing to do.
  void wait(int worker, const std::string& host, double now);
  /// It no longer waits.
  void forget(int worker);
  /// Makes the teams that can be made; returns the new ones. Workers of several hosts come together
  /// only when nobody has joined those who wait for some seconds: others of their host may be on
  /// their way.
  std::vector<TeamNumber> form(double now);
  /// The team ends; its members are in none.
  void dissolve(TeamNumber team) { teams_.erase(team); }

  Team& operator[](TeamNumber team) { return teams_.at(team); }
  std::map<TeamNumber, Team>& all() { return teams_; }
  const std::map<TeamNumber, Team>& all() const { return teams_; }

 private:
  TeamNumber make(std::vector<int> members);

  int64_t size_;
  std::map<std::string, std::set<int>> waiting_;  ///< by host
  std::map<int, std::string> host_of_;            ///< of those who wait
  double joined_ = 0;                             ///< when the last of them came
  std::map<TeamNumber, Team> teams_;
  TeamNumber next_ = 0;
};

}  // namespace ropesweep
