// Counting.
#include "coordinator/blame.h"

#include <algorithm>

namespace ropesweep {

void Blame::killed(const std::string& host, TaskIndex task) {
  tasks_of_[host].insert(task);
  hosts_of_[task].insert(host);
  in_a_row_.insert(task);
}

size_t Blame::tasks_killed(const std::string& host) const {
  const auto found = tasks_of_.find(host);
  if (found == tasks_of_.end()) {
    return 0;
  }
  return static_cast<size_t>(
      std::count_if(found->second.begin(), found->second.end(),
                    [this](TaskIndex task) { return hosts_of_.at(task).size() == 1; }));
}

bool Blame::blames_any() const {
  return std::any_of(tasks_of_.begin(), tasks_of_.end(),
                     [this](const auto& host) { return blames(host.first); });
}

void Blame::device_failed(int worker, const std::string& why) {
  Device& device = devices_[worker];
  ++device.failures;
  device.why = why;
}

std::string Blame::broken_device(int worker) const {
  const auto found = devices_.find(worker);
  return found == devices_.end() || found->second.failures < kDeviceFailures ? ""
                                                                             : found->second.why;
}

}  // namespace ropesweep
