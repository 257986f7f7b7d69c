// Teams of those who wait.
#include "coordinator/teams.h"

#include <algorithm>

namespace ropesweep {
namespace {

/// So long nobody must have come before workers of several hosts make a team.
constexpr double kMixedTeamSeconds = 3;

}  // namespace

void Team::begin(TaskIndex index, AttemptId id, double now) {
  task = index;
  attempt = std::move(id);
  started = now;
  expected = {members.begin(), members.end()};
  idle.clear();
}

void Team::end() {
  task.reset();
  attempt = {};
  expected.clear();
  answer.reset();
  stopped.reset();
  lost.reset();
}

void Teams::wait(int worker, const std::string& host, double now) {
  if (host_of_.emplace(worker, host).second) {
    waiting_[host].insert(worker);
    joined_ = now;
  }
}

void Teams::forget(int worker) {
  const auto found = host_of_.find(worker);
  if (found != host_of_.end()) {
    waiting_[found->second].erase(worker);
    host_of_.erase(found);
  }
}

std::vector<TeamNumber> Teams::form(double now) {
  std::vector<TeamNumber> formed;
  if (static_cast<int64_t>(host_of_.size()) < size_) {
    return formed;
  }
  const auto of = static_cast<std::ptrdiff_t>(size_);
  std::vector<std::pair<int64_t, std::string>> left;  ///< (−waiting, host)
  for (const auto& [host, workers] : waiting_) {
    std::vector<int> waiting(workers.begin(), workers.end());
    auto first = waiting.begin();
    for (; waiting.end() - first >= of; first += of) {
      formed.push_back(make({first, first + of}));
    }
    left.emplace_back(first - waiting.end(), host);
  }
  if (now - joined_ < kMixedTeamSeconds) {
    return formed;
  }
  std::sort(left.begin(), left.end());
  std::vector<int> waiting;
  for (const auto& [count, host] : left) {
    waiting.insert(waiting.end(), waiting_[host].begin(), waiting_[host].end());
  }
  for (auto first = waiting.begin(); waiting.end() - first >= of; first += of) {
    formed.push_back(make({first, first + of}));
  }
  return formed;
}

TeamNumber Teams::make(std::vector<int> members) {
  for (const int member : members) {
    forget(member);
  }
  Team team;
  team.idle = {members.begin(), members.end()};
  team.members = std::move(members);
  teams_.emplace(next_, std::move(team));
  return next_++;
}

}  // namespace ropesweep
