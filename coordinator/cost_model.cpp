// Rates are Σ flops / Σ seconds over a class: long tasks weigh more, as they should.
#include "coordinator/cost_model.h"

#include <algorithm>

namespace ropesweep {

namespace {

double devices_of(const Task& task) { return static_cast<double>(task.workers.gpus_per_task); }

}  // namespace

std::string CostModel::class_of(const Task& task) {
  return task.kind == TaskKind::fine_tune ? "fine-tune" : "evaluation of " + task.dataset.kind;
}

double CostModel::seconds(const Task& task) const {
  const auto own = rates_.find(class_of(task));
  const Rate& rate = own != rates_.end() ? own->second : all_;
  const double flops_per_second =
      rate.flops > 0 && rate.seconds > 0 ? rate.flops / rate.seconds : kPriorRate;
  return std::max(kMinimumSeconds, task.flops / (flops_per_second * devices_of(task)));
}

void CostModel::observe(const Task& task, double seconds) {
  if (task.flops <= 0 || seconds <= 0) {
    return;
  }
  for (Rate* rate : {&rates_[class_of(task)], &all_}) {
    rate->flops += task.flops;
    rate->seconds += seconds * devices_of(task);
  }
  ++observations_;
}

}  // namespace ropesweep
