// Whose fault it was: a task that dies wherever it runs is to blame itself, a node on which several
// different tasks die is not fit to work, and neither is a worker whose device can't be used. Facts
// only; who is left out for them is decided in the reactor (health.cpp).
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>

#include "coordinator/scheduler.h"

namespace ropesweep {

class Blame {
 public:
  /// So many different tasks died on a node, and nowhere else: it is to blame.
  static constexpr size_t kTasks = 3;
  /// So many runners of a worker, one after the other, could not use its device.
  static constexpr int64_t kDeviceFailures = 3;

  /// The task's runner, or the worker, died there in the middle of it.
  void killed(const std::string& host, TaskIndex task);
  /// A result: those who die are not everywhere.
  void finished() { in_a_row_.clear(); }
  /// Tasks that died on the node and on no other.
  size_t tasks_killed(const std::string& host) const;
  bool blames(const std::string& host) const { return tasks_killed(host) >= kTasks; }
  /// There is a node to blame.
  bool blames_any() const;
  /// Different tasks that died since the last result, wherever.
  size_t in_a_row() const { return in_a_row_.size(); }

  void device_failed(int worker, const std::string& why);
  /// Its device does work.
  void device_works(int worker) { devices_.erase(worker); }
  /// Why its device can't be used; "": it can, as far as is known.
  std::string broken_device(int worker) const;

 private:
  struct Device {
    int64_t failures = 0;
    std::string why;
  };
  std::map<std::string, std::set<TaskIndex>> tasks_of_;  ///< by host: what died there
  std::map<TaskIndex, std::set<std::string>> hosts_of_;
  std::set<TaskIndex> in_a_row_;
  std::map<int, Device> devices_;
};

}  // namespace ropesweep
