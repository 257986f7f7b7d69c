// `t5`: no rotation; a learned number for each head and bucket of distances is added to the scores
// (Raffel et al. 2020). Half of the buckets hold one distance each, the others grow
// logarithmically; all layers share the numbers.
#include "experiments/error.h"
#include "experiments/schemes/scheme.h"

namespace ropesweep::schemes {
namespace {

AttentionRule t5_rule(const MapRequest& request) {
  AttentionRule rule{.bias = DistanceBias::t5};
  rule.buckets = whole_number(request, "t5", "buckets", 32);
  rule.max_distance = whole_number(request, "t5", "max_distance", 128);
  if (rule.buckets < 2 || rule.max_distance <= rule.buckets / 2) {
    throw_user_error(
        "scheme t5: needs at least 2 buckets and a max_distance past half of them; {} buckets, "
        "max_distance {} were given",
        rule.buckets, rule.max_distance);
  }
  return rule;
}

}  // namespace

const SchemeDefinition& t5_scheme() {
  static const SchemeDefinition definition = {
      .name = "t5",
      .summary =
          "no rotation; a learned bias of each head and bucket of distances (Raffel et al. 2020, "
          "arXiv:1910.10683)",
      .options = {{.name = "buckets", .default_value = "32", .meaning = "buckets of distances"},
                  {.name = "max_distance",
                   .default_value = "128",
                   .meaning = "tokens, from where on all distances share the last bucket"}},
      .takes_scale = false,
      .scale_option = "",
      .map = no_rotation,
      .rule = t5_rule};
  return definition;
}

}  // namespace ropesweep::schemes
