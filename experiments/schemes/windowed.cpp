// `lm-infinite` and `streaming`: a query sees the first few tokens and a window of the last ones.
//   lm-infinite (Han et al. 2023):  j → min(j, L0)
//   streaming (Xiao et al. 2023):   positions count the tokens that are seen, first + window at
//                                   most: a first token n has the distance
//                                   min(m, first + window − 1) − n
#include <algorithm>

#include "experiments/schemes/scheme.h"

namespace ropesweep::schemes {
namespace {

AttentionRule lm_infinite_rule(const MapRequest& request) {
  const int64_t most = std::max<int64_t>(1, static_cast<int64_t>(request.shape.original_length));
  const int64_t first = whole_number(request, "lm-infinite", "first", 10);
  const int64_t window = whole_number(request, "lm-infinite", "window", most);
  AttentionRule rule{.parts = {}};
  // Each band is cut where the distance stops growing.
  const auto add = [&](int64_t nearest, int64_t farthest, int64_t keys) {
    const int64_t cut = std::clamp(most, nearest, farthest);
    if (nearest < cut) {
      rule.parts.push_back({.nearest = nearest, .farthest = cut, .first_keys = keys});
    }
    if (cut < farthest) {
      rule.parts.push_back({.nearest = cut,
                            .farthest = farthest,
                            .first_keys = keys,
                            .query = PositionMap::constant(static_cast<double>(most)),
                            .key = PositionMap::constant(0)});
    }
  };
  add(0, window, kEveryKey);
  if (first > 0) add(window, kEveryKey, first);
  return rule;
}

AttentionRule streaming_rule(const MapRequest& request) {
  const auto original = static_cast<int64_t>(request.shape.original_length);
  const int64_t first = whole_number(request, "streaming", "first", 4);
  const int64_t window =
      whole_number(request, "streaming", "window", std::max<int64_t>(1, original - first));
  AttentionRule rule{.parts = {{.farthest = window}}};
  if (first > 0) {
    rule.parts.push_back({.nearest = window,
                          .first_keys = first,
                          .query = {.most = static_cast<double>(first + window - 1)}});
  }
  return rule;
}

SchemeOption first_option(const char* usual) {
  return {.name = "first",
          .default_value = usual,
          .meaning = "tokens at the beginning that stay visible",
          .least_allowed = true};
}

}  // namespace

const SchemeDefinition& lm_infinite_scheme() {
  static const SchemeDefinition definition = {
      .name = "lm-infinite",
      .summary =
          "the first tokens and a window, no distance past the original length (Han et al. 2023, "
          "arXiv:2308.16137)",
      .options = {first_option("10"),
                  {.name = "window",
                   .default_value = {},
                   .meaning = "tokens; the original length when not given"}},
      .takes_scale = false,
      .scale_option = "",
      .map = own_map,
      .rule = lm_infinite_rule};
  return definition;
}

const SchemeDefinition& streaming_scheme() {
  static const SchemeDefinition definition = {
      .name = "streaming",
      .summary =
          "the first tokens and a window, with positions among those (StreamingLLM, Xiao et al. "
          "2023, arXiv:2309.17453)",
      .options = {first_option("4"),
                  {.name = "window",
                   .default_value = {},
                   .meaning = "tokens; the original length less `first` when not given"}},
      .takes_scale = false,
      .scale_option = "",
      .map = own_map,
      .rule = streaming_rule};
  return definition;
}

}  // namespace ropesweep::schemes
