// The group that a runner is in: met when a task says so, kept as long as tasks name the same.
#pragma once

#include <memory>
#include <string>

#include "experiments/task.h"
#include "worker/backend/collective.h"

namespace ropesweep::tasks {

class RunnerGroup {
 public:
  /// `backend` must outlive it. `cuda_device`: its number, -1: it is the CPU's.
  RunnerGroup(backend::Backend& backend, int cuda_device)
      : backend_(backend), cuda_device_(cuda_device) {}

  /// Whether `place` is in the group that was joined last.
  bool is_in(const GroupPlace& place) const { return place.name == name_; }
  bool is_alone() const { return group_ == nullptr; }
  /// The group of a place: the one that is kept, or a new one, met with all its members; null for a
  /// worker alone. Errors: LostMember when they don't all come; backend::NoDevice in a build
  /// without NCCL.
  backend::Collective* join(const GroupPlace& place);
  /// The others' operations end with LostMember.
  void leave();

 private:
  backend::Backend& backend_;
  int cuda_device_;
  std::string name_;
  std::unique_ptr<backend::Collective> group_;
};

}  // namespace ropesweep::tasks
