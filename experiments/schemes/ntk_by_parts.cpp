// `ntk-by-parts`: pairs that turn often within the original length stay, those that turn seldom are
// divided by the scale, a ramp over the number of turns between (Peng et al. 2023,
// arXiv:2309.00071, equations 17 to 19):
//   r_i = L0/λ_i = L0·θ_i/(2π) · γ_i = clip((r_i − α)/(β − α), 0, 1)
//   θ'_i = (1 − γ_i)·θ_i/s + γ_i·θ_i
#include <algorithm>
#include <numbers>

#include "experiments/error.h"
#include "experiments/schemes/scheme.h"

namespace ropesweep::schemes {
namespace {

FrequencyMap ntk_by_parts_map(const MapRequest& request, int64_t) {
  const double alpha = *request.options.number("alpha");
  const double beta = *request.options.number("beta");
  if (!(beta > alpha)) {
    throw_user_error("scheme ntk-by-parts: beta ({}) must be greater than alpha ({})", beta, alpha);
  }
  FrequencyMap map{.inv_freq = base_frequencies(request.shape, request.shape.base)};
  for (double& frequency : map.inv_freq) {
    const double turns = request.shape.original_length * frequency / (2 * std::numbers::pi);
    const double keep = std::clamp((turns - alpha) / (beta - alpha), 0.0, 1.0);
    frequency = (1 - keep) * frequency / request.scale + keep * frequency;
  }
  return map;
}

}  // namespace

const SchemeDefinition& ntk_by_parts_scheme() {
  static const SchemeDefinition definition = {
      .name = "ntk-by-parts",
      .summary =
          "interpolates low frequencies only, by a ramp over the turns within the original length "
          "(bloc97 2023; Peng et al. 2023, arXiv:2309.00071)",
      .options = {{.name = "alpha",
                   .default_value = "1",
                   .meaning = "turns below which a pair is divided by the whole scale",
                   .least_allowed = true},
                  {.name = "beta",
                   .default_value = "32",
                   .meaning = "turns above which a pair is kept"}},
      .scale_option = "",
      .map = ntk_by_parts_map};
  return definition;
}

}  // namespace ropesweep::schemes
