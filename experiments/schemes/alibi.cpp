// `alibi`: no rotation; a score falls with the distance, head by head (Press et al. 2021).
//   logit −= slope_h · j,  slope_h = 2^(−8h/H)
#include "experiments/schemes/scheme.h"

namespace ropesweep::schemes {
namespace {

AttentionRule alibi_rule(const MapRequest&) { return {.bias = DistanceBias::alibi}; }

}  // namespace

const SchemeDefinition& alibi_scheme() {
  static const SchemeDefinition definition = {
      .name = "alibi",
      .summary =
          "no rotation; scores fall with the distance by a slope of each head (Press et al. 2021, "
          "arXiv:2108.12409)",
      .options = {},
      .takes_scale = false,
      .scale_option = "",
      .map = no_rotation,
      .rule = alibi_rule};
  return definition;
}

}  // namespace ropesweep::schemes
