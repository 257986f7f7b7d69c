// Rates are Σ flops / Σ seconds over a class: long tasks weigh more, as they should.
#include "coordinator/cost_model.h"

#include <algorithm>
#include <cmath>

namespace ropesweep {

namespace {

double devices_of(const Task& task) { return static_cast<double>(task.workers.gpus_per_task); }

}  // namespace

std::string CostModel::class_of(const Task& task) {
  return task.kind == TaskKind::fine_tune ? "fine-tune" : "evaluation of " + task.dataset.kind;
}

double CostModel::seconds(const Task& alike, double flops) const {
  const auto own = rates_.find(class_of(alike));
  const Rate& rate = own != rates_.end() ? own->second : all_;
  const double flops_per_second =
      rate.flops > 0 && rate.seconds > 0 ? rate.flops / rate.seconds : kPriorRate;
  return std::max(kMinimumSeconds, flops / (flops_per_second * devices_of(alike)));
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

bool CostModel::Rate::has_moved() const {
  constexpr double kNoticed = 0.05;
  return flops > 0 && std::abs(flops / seconds - settled) > kNoticed * settled;
}

bool CostModel::has_moved() const {
  return all_.has_moved() || std::any_of(rates_.begin(), rates_.end(),
                                         [](const auto& rate) { return rate.second.has_moved(); });
}

void CostModel::settle() {
  all_.settled = all_.flops / all_.seconds;
  for (auto& [name, rate] : rates_) {
    rate.settled = rate.flops / rate.seconds;
  }
}

}  // namespace ropesweep
