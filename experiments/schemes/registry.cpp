// The list of schemes: one line each.
#include <cmath>

#include "experiments/schemes/scheme.h"

namespace ropesweep::schemes {

const std::vector<const SchemeDefinition*>& definitions() {
  static const std::vector<const SchemeDefinition*> all = {
      &none_scheme(), &linear_scheme(), &ntk_scheme(),       &dynamic_ntk_scheme(),
      &yarn_scheme(), &power_scheme(),  &truncated_scheme(),
  };
  return all;
}

std::optional<double> OptionValues::number(const std::string& name) const {
  const auto found = values_.find(name);
  if (found == values_.end()) return std::nullopt;
  return std::stod(found->second);
}

std::vector<double> base_frequencies(const RotaryShape& shape, double base) {
  const double dim = static_cast<double>(shape.head_dim);
  std::vector<double> frequencies;
  for (int64_t i = 0; i < shape.head_dim / 2; ++i) {
    frequencies.push_back(std::pow(base, -2 * static_cast<double>(i) / dim));
  }
  return frequencies;
}

}  // namespace ropesweep::schemes
