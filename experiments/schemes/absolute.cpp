// `sinusoidal` and `learned`: vectors by position, added to the embeddings; no rotation (Vaswani et
// al. 2017, section 3.5; Radford et al. 2018). Only models trained with them understand them.
#include <algorithm>

#include "experiments/schemes/scheme.h"

namespace ropesweep::schemes {
namespace {

AttentionRule sinusoidal_rule(const MapRequest&) { return {.added = AddedPositions::sinusoidal}; }

AttentionRule learned_rule(const MapRequest& request) {
  const int64_t original =
      std::max<int64_t>(1, static_cast<int64_t>(request.shape.original_length));
  return {.added = AddedPositions::learned,
          .table_rows = whole_number(request, "learned", "length", original)};
}

}  // namespace

const SchemeDefinition& sinusoidal_scheme() {
  static const SchemeDefinition definition = {
      .name = "sinusoidal",
      .summary =
          "sines and cosines of the position, added to the embeddings (Vaswani et al. 2017, "
          "arXiv:1706.03762)",
      .options = {},
      .takes_scale = false,
      .scale_option = "",
      .map = no_rotation,
      .rule = sinusoidal_rule};
  return definition;
}

const SchemeDefinition& learned_scheme() {
  static const SchemeDefinition definition = {
      .name = "learned",
      .summary = "a learned vector of each position, added to the embeddings (Radford et al. 2018)",
      .options = {{.name = "length",
                   .default_value = {},
                   .meaning = "positions that have one; the original length when not given"}},
      .takes_scale = false,
      .scale_option = "",
      .map = no_rotation,
      .rule = learned_rule};
  return definition;
}

}  // namespace ropesweep::schemes
