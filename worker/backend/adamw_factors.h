// What a step of AdamW comes down to for one element, computed once in f64 for all backends.
#pragma once

#include <cmath>

#include "worker/backend/ops.h"

namespace ropesweep::backend {

struct AdamwFactors {
  float gradient_scale, beta1, beta2, keep, rate, root_correction, epsilon;
};

inline AdamwFactors factors_of(const AdamwStep& step) {
  const double t = static_cast<double>(step.step);
  const double rate = double{step.learning_rate}, decay = double{step.weight_decay};
  return {
      .gradient_scale = step.gradient_scale,
      .beta1 = step.beta1,
      .beta2 = step.beta2,
      .keep = static_cast<float>(1.0 - rate * decay),
      .rate = static_cast<float>(rate / (1.0 - std::pow(double{step.beta1}, t))),
      .root_correction = static_cast<float>(1.0 / std::sqrt(1.0 - std::pow(double{step.beta2}, t))),
      .epsilon = step.epsilon};
}

}  // namespace ropesweep::backend
