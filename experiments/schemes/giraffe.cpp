// The two static maps of the Giraffe study (Pal et al. 2023, arXiv:2308.10882). Neither has a
// scale, unless `power` is asked to.
//   power(k):      θ'_i = θ_i · (1 − i/(d/2))^k, with scaled=true divided by s
//   truncated(T):  c = 2π/T; θ ≥ c: θ; c/8 ≤ θ < c: 2π/(16·T); θ < c/8: 0
#include <cmath>
#include <numbers>

#include "experiments/schemes/scheme.h"

namespace ropesweep::schemes {
namespace {

FrequencyMap power_map(const MapRequest& request, int64_t) {
  const double exponent = *request.options.number("k");
  FrequencyMap map{.inv_freq = base_frequencies(request.shape, request.shape.base)};
  const double pairs = static_cast<double>(map.inv_freq.size());
  for (size_t i = 0; i < map.inv_freq.size(); ++i) {
    map.inv_freq[i] *= std::pow(1 - static_cast<double>(i) / pairs, exponent) / request.scale;
  }
  return map;
}

FrequencyMap truncated_map(const MapRequest& request, int64_t) {
  const double length = request.options.number("length").value_or(request.shape.original_length);
  const double cutoff = 2 * std::numbers::pi / length;
  FrequencyMap map{.inv_freq = base_frequencies(request.shape, request.shape.base)};
  for (double& frequency : map.inv_freq) {
    if (frequency >= cutoff) continue;
    frequency = frequency >= cutoff / 8 ? cutoff / 16 : 0.0;
  }
  return map;
}

}  // namespace

const SchemeDefinition& power_scheme() {
  static const SchemeDefinition definition = {
      .name = "power",
      .summary =
          "low frequencies shrink by (1 − 2i/d)^k (Giraffe, Pal et al. 2023, arXiv:2308.10882)",
      .options = {{.name = "k",
                   .default_value = "0.5",
                   .meaning = "exponent; 0 is the base model",
                   .least_allowed = true,
                   .always_shown = true,
                   .unnamed = true},
                  {.name = "scaled",
                   .default_value = "false",
                   .meaning = "true: divided by the scale too, which then is an axis",
                   .kind = OptionKind::boolean}},
      .takes_scale = false,
      .scale_option = "",
      .scaled_option = "scaled",
      .map = power_map};
  return definition;
}

const SchemeDefinition& truncated_scheme() {
  static const SchemeDefinition definition = {
      .name = "truncated",
      .summary =
          "frequencies below one turn in T tokens become a fixed low one, the lowest zero "
          "(Giraffe, Pal et al. 2023, arXiv:2308.10882)",
      .options = {{.name = "length",
                   .default_value = {},
                   .meaning = "T, tokens; the original length when not given"}},
      .takes_scale = false,
      .scale_option = "",
      .map = truncated_map};
  return definition;
}

}  // namespace ropesweep::schemes
