// `linear`: position interpolation, θ'_i = θ_i / s.
// `dynamic-linear`: the same with s = max(1, L/L0), L the current length.
#include <algorithm>

#include "experiments/schemes/float32_arithmetic.h"
#include "experiments/schemes/scheme.h"

namespace ropesweep::schemes {
namespace {

FrequencyMap divided(const MapRequest& request, double scale) {
  const RotaryShape& shape = request.shape;
  if (request.arithmetic == TableArithmetic::hugging_face) {
    std::vector<float> inv_freq =
        float32_frequencies(shape.head_dim, static_cast<float>(shape.base));
    for (float& frequency : inv_freq) frequency /= static_cast<float>(scale);
    return float32_map(inv_freq);
  }
  FrequencyMap map{.inv_freq = base_frequencies(shape, shape.base)};
  for (double& frequency : map.inv_freq) frequency /= scale;
  return map;
}

FrequencyMap linear_map(const MapRequest& request, int64_t) {
  return divided(request, request.scale);
}

FrequencyMap dynamic_linear_map(const MapRequest& request, int64_t length) {
  return divided(request,
                 std::max(1.0, static_cast<double>(length) / request.shape.original_length));
}

}  // namespace

const SchemeDefinition& linear_scheme() {
  static const SchemeDefinition definition = {
      .name = "linear",
      .summary =
          "position interpolation: all frequencies divided by the scale (Chen et al. 2023, "
          "arXiv:2306.15595)",
      .options = {},
      .scale_option = "",
      .map = linear_map};
  return definition;
}

const SchemeDefinition& dynamic_linear_scheme() {
  static const SchemeDefinition definition = {
      .name = "dynamic-linear",
      .summary =
          "position interpolation by the current length over the original one, past it (Peng et "
          "al. 2023, arXiv:2309.00071, 3.3)",
      .options = {},
      .takes_scale = false,
      .scale_option = "",
      .depends_on_length = true,
      .map = dynamic_linear_map};
  return definition;
}

}  // namespace ropesweep::schemes
