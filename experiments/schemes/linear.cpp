// `linear`: position interpolation, θ'_i = θ_i / s.
#include "experiments/schemes/float32_arithmetic.h"
#include "experiments/schemes/scheme.h"

namespace ropesweep::schemes {
namespace {

FrequencyMap linear_map(const MapRequest& request, int64_t) {
  const RotaryShape& shape = request.shape;
  if (request.arithmetic == TableArithmetic::hugging_face) {
    std::vector<float> inv_freq =
        float32_frequencies(shape.head_dim, static_cast<float>(shape.base));
    for (float& frequency : inv_freq) frequency /= static_cast<float>(request.scale);
    return float32_map(inv_freq);
  }
  FrequencyMap map{.inv_freq = base_frequencies(shape, shape.base)};
  for (double& frequency : map.inv_freq) frequency /= request.scale;
  return map;
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

}  // namespace ropesweep::schemes
