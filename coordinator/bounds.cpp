// O(n log n): earliest starts and tails by the graph, then one walk over their moments.
#include "coordinator/bounds.h"

#include <algorithm>
#include <functional>
#include <set>
#include <string_view>
#include <utility>

namespace ropesweep {
namespace {

/// By task: the longest chain before it (its earliest start), and after it.
struct Chains {
  std::vector<double> before, after;
};

Chains chains_of(const std::vector<ScheduledTask>& tasks, const std::vector<double>& seconds) {
  const size_t count = tasks.size();
  std::vector<std::vector<size_t>> waiting(count);
  std::vector<size_t> unmet(count), order;
  for (size_t i = 0; i < count; ++i) {
    unmet[i] = tasks[i].needs.size() + tasks[i].follows.size();
    for (const auto* earlier : {&tasks[i].needs, &tasks[i].follows}) {
      for (const TaskIndex task : *earlier) waiting[static_cast<size_t>(task)].push_back(i);
    }
    if (unmet[i] == 0) order.push_back(i);
  }
  Chains chains{std::vector<double>(count), std::vector<double>(count)};
  for (size_t next = 0; next < order.size(); ++next) {
    const size_t task = order[next];
    for (const size_t later : waiting[task]) {
      chains.before[later] = std::max(chains.before[later], chains.before[task] + seconds[task]);
      if (--unmet[later] == 0) order.push_back(later);
    }
  }
  for (auto task = order.rbegin(); task != order.rend(); ++task) {
    for (const size_t later : waiting[*task]) {
      chains.after[*task] = std::max(chains.after[*task], seconds[later] + chains.after[later]);
    }
  }
  return chains;
}

/// Where s − W(s) / workers is highest: its value, and W there.
struct Start {
  double lost = 0, done = 0;
};

Start worst_start(const std::vector<double>& from, const std::vector<double>& seconds,
                  double workers) {
  std::vector<std::pair<double, int>> moments;  // one more task can run from here on, or one less
  for (size_t i = 0; i < from.size(); ++i) {
    moments.emplace_back(from[i], 1);
    moments.emplace_back(from[i] + seconds[i], -1);
  }
  std::sort(moments.begin(), moments.end());
  Start worst;
  double now = 0, done = 0, running = 0;
  for (const auto& [moment, change] : moments) {
    done += running * (moment - now);
    now = moment;
    running += change;
    if (now - done / workers > worst.lost) {
      worst = {now - done / workers, done};
    }
  }
  return worst;
}

double bound_by_pieces(std::vector<double> seconds, size_t workers) {
  std::sort(seconds.begin(), seconds.end(), std::greater<>());
  double highest = seconds.empty() ? 0 : seconds.front();
  for (size_t k = 1; k * workers < seconds.size(); ++k) {
    double sum = 0;
    for (size_t i = k * workers - k; i <= k * workers; ++i) sum += seconds[i];
    highest = std::max(highest, sum);
  }
  return highest;
}

}  // namespace

double Bounds::best() const { return std::max({critical_path, waiting, pieces}); }

Bounds bounds(const std::vector<ScheduledTask>& tasks, const std::vector<double>& seconds,
              int64_t workers, double load_seconds) {
  Bounds result;
  const auto share = static_cast<double>(std::max<int64_t>(workers, 1));
  std::set<std::string_view> keys;
  for (size_t i = 0; i < tasks.size(); ++i) {
    result.work += seconds[i];
    keys.insert(tasks[i].weights_key);
  }
  result.work += load_seconds * static_cast<double>(keys.size());
  const Chains chains = chains_of(tasks, seconds);
  for (size_t i = 0; i < tasks.size(); ++i) {
    result.critical_path =
        std::max(result.critical_path, chains.before[i] + seconds[i] + chains.after[i]);
  }
  const Start start = worst_start(chains.before, seconds, share);
  const Start end = worst_start(chains.after, seconds, share);
  const double left = result.work - start.done - end.done;
  result.waiting =
      result.work / share + (left > 0 ? start.lost + end.lost : std::max(start.lost, end.lost));
  result.pieces = bound_by_pieces(seconds, static_cast<size_t>(share));
  return result;
}

}  // namespace ropesweep
