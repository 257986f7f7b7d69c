// The list of schemes: one line each.
#include <cmath>

#include "experiments/error.h"
#include "experiments/schemes/scheme.h"

namespace ropesweep::schemes {

const std::vector<const SchemeDefinition*>& definitions() {
  // clang-format off
  static const std::vector<const SchemeDefinition*> all = {
      &none_scheme(),
      &linear_scheme(),
      &dynamic_linear_scheme(),
      &base_scheme(),
      &ntk_scheme(),
      &dynamic_ntk_scheme(),
      &ntk_by_parts_scheme(),
      &yarn_scheme(),
      &dynamic_yarn_scheme(),
      &llama3_scheme(),
      &longrope_scheme(),
      &power_scheme(),
      &truncated_scheme(),
      &file_scheme(),
      &resonance_scheme(),
      &p_rope_scheme(),
      &nope_scheme(),
      &partial_scheme(),
      // what changes attention itself
      &xpos_scheme(),
      &alibi_scheme(),
      &t5_scheme(),
      &rerope_scheme(),
      &leaky_rerope_scheme(),
      &self_extend_scheme(),
      &dual_chunk_scheme(),
      &lm_infinite_scheme(),
      &streaming_scheme(),
      &sinusoidal_scheme(),
      &learned_scheme(),
      // what changes the positions of training
      &random_scheme(),
      &pose_scheme(),
  };
  // clang-format on
  return all;
}

std::optional<double> OptionValues::number(const std::string& name) const {
  const auto found = values_.find(name);
  if (found == values_.end()) return std::nullopt;
  return std::stod(found->second);
}

std::string OptionValues::text(const std::string& name) const {
  const auto found = values_.find(name);
  return found == values_.end() ? std::string() : found->second;
}

SchemeOption map_option() {
  return {.name = "map",
          .default_value = "none",
          .meaning = "the scheme that is changed",
          .kind = OptionKind::scheme,
          .unnamed = true};
}

OptionValues OptionValues::with(const std::string& name, std::string value) const {
  OptionValues changed = *this;
  changed.values_[name] = std::move(value);
  return changed;
}

int64_t whole_number(const MapRequest& request, const std::string& scheme, const std::string& name,
                     int64_t otherwise) {
  const double value = request.options.number(name).value_or(static_cast<double>(otherwise));
  if (value != std::floor(value) || value > 1e15) {
    throw_user_error("scheme {}: option {} must be a whole number, not {}", scheme, name, value);
  }
  return static_cast<int64_t>(value);
}

FrequencyMap own_map(const MapRequest& request, int64_t length) {
  return none_scheme().map(request, length);
}

FrequencyMap no_rotation(const MapRequest& request, int64_t) {
  return {.inv_freq = std::vector<double>(static_cast<size_t>(request.shape.head_dim / 2), 0.0)};
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
