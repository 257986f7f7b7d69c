// `self-extend` (Jin et al. 2024): positions in groups of G for keys past a window of W, so that
// more tokens have distances that training has seen.
//   j < W:  j;   else  ⌊m/G⌋ − ⌊n/G⌋ + W − ⌊W/G⌋
#include "experiments/schemes/scheme.h"

namespace ropesweep::schemes {
namespace {

AttentionRule self_extend_rule(const MapRequest& request) {
  const int64_t group = whole_number(request, "self-extend", "G", 8);
  const int64_t window = whole_number(request, "self-extend", "W", 1024);
  const int64_t groups = window / group;
  const auto shift = static_cast<double>(window - groups);
  return {.parts = near_and_far(window, {.offset = shift, .group = group}, {.group = group})};
}

}  // namespace

const SchemeDefinition& self_extend_scheme() {
  static const SchemeDefinition definition = {
      .name = "self-extend",
      .summary = "positions in groups past a window (Jin et al. 2024, arXiv:2401.01325)",
      .options = {{.name = "G", .default_value = "8", .meaning = "tokens of a group"},
                  {.name = "W",
                   .default_value = "1024",
                   .meaning = "window of exact distances, tokens"}},
      .takes_scale = false,
      .scale_option = "",
      .map = own_map,
      .rule = self_extend_rule};
  return definition;
}

}  // namespace ropesweep::schemes
