// `ntk` and `dynamic-ntk`: a greater base, so that the lowest frequency is divided by the scale and
// the highest stays.
//   ntk:          b' = b · s^(d/(d−2))
//   dynamic-ntk:  b' = b · (f·L/L0 − (f−1))^(d/(d−2)) for L > L0, b otherwise; f the scale
#include <algorithm>
#include <cmath>

#include "experiments/schemes/float32_arithmetic.h"
#include "experiments/schemes/scheme.h"

namespace ropesweep::schemes {
namespace {

/// d / (d − 2), the exponent that divides the lowest frequency by exactly the stretch.
double stretch_exponent(const RotaryShape& shape) {
  const double dim = static_cast<double>(shape.head_dim);
  return dim / (dim - 2);
}

FrequencyMap stretched(const MapRequest& request, double stretch) {
  const RotaryShape& shape = request.shape;
  const double base = shape.base * std::pow(stretch, stretch_exponent(shape));
  if (request.arithmetic == TableArithmetic::hugging_face) {
    // The base is a Python number, in double; only the frequencies are float32 tensors.
    return float32_map(float32_frequencies(shape.head_dim, static_cast<float>(base)));
  }
  return {.inv_freq = base_frequencies(shape, base)};
}

FrequencyMap ntk_map(const MapRequest& request, int64_t) {
  return stretched(request, request.scale);
}

FrequencyMap dynamic_ntk_map(const MapRequest& request, int64_t length) {
  const double factor = request.options.number("factor").value_or(request.scale);
  const double original = request.shape.original_length;
  const double current = std::max(static_cast<double>(length), original);
  return stretched(request, factor * current / original - (factor - 1));
}

}  // namespace

const SchemeDefinition& ntk_scheme() {
  static const SchemeDefinition definition = {
      .name = "ntk",
      .summary = "NTK-aware: the base grows to b·s^(d/(d−2)) (bloc97 2023)",
      .options = {},
      .scale_option = "",
      .map = ntk_map};
  return definition;
}

const SchemeDefinition& dynamic_ntk_scheme() {
  static const SchemeDefinition definition = {
      .name = "dynamic-ntk",
      .summary =
          "NTK-aware with a base that follows the current length past the original one "
          "(emozilla 2023; transformers' `dynamic`)",
      .options = {{.name = "factor",
                   .default_value = {},
                   .meaning = "fixes the factor f, which is the scale otherwise",
                   .least = 1,
                   .least_allowed = true}},
      .scale_option = "factor",
      .depends_on_length = true,
      .map = dynamic_ntk_map};
  return definition;
}

}  // namespace ropesweep::schemes
