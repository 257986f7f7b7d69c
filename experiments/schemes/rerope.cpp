// `rerope` and `leaky-rerope` (Su 2023): distances past a window w stop growing, or grow k times
// slower.
//   rerope:        j → min(j, w)
//   leaky-rerope:  j → j for j < w, w + (j − w)/k beyond
//   both:          query · max(1, ln(m + 1) / ln L0)
#include <algorithm>

#include "experiments/schemes/scheme.h"

namespace ropesweep::schemes {
namespace {

SchemeOption window_option() {
  return {.name = "w", .default_value = "512", .meaning = "window of exact distances, tokens"};
}

int64_t original_length(const MapRequest& request) {
  return std::max<int64_t>(2, static_cast<int64_t>(request.shape.original_length));
}

AttentionRule rerope_rule(const MapRequest& request) {
  const int64_t w = whole_number(request, "rerope", "w", 512);
  const auto farthest = PositionMap::constant(static_cast<double>(w));
  return {.parts = near_and_far(w, farthest, PositionMap::constant(0)),
          .logarithmic_from = original_length(request)};
}

AttentionRule leaky_rule(const MapRequest& request) {
  const int64_t w = whole_number(request, "leaky-rerope", "w", 512);
  const double window = static_cast<double>(w), k = *request.options.number("k");
  const PositionMap query{.factor = 1 / k, .offset = window - window / k};
  return {.parts = near_and_far(w, query, {.factor = 1 / k}),
          .logarithmic_from = original_length(request)};
}

}  // namespace

const SchemeDefinition& rerope_scheme() {
  static const SchemeDefinition definition = {
      .name = "rerope",
      .summary = "distances stop growing at a window's end (ReRoPE, Su 2023)",
      .options = {window_option()},
      .takes_scale = false,
      .scale_option = "",
      .map = own_map,
      .rule = rerope_rule};
  return definition;
}

const SchemeDefinition& leaky_rerope_scheme() {
  static const SchemeDefinition definition = {
      .name = "leaky-rerope",
      .summary = "distances grow k times slower past a window (leaky ReRoPE, Su 2023)",
      .options = {window_option(),
                  {.name = "k",
                   .default_value = "16",
                   .meaning = "what distances past the window are divided by",
                   .least = 1,
                   .least_allowed = true}},
      .takes_scale = false,
      .scale_option = "",
      .map = own_map,
      .rule = leaky_rule};
  return definition;
}

}  // namespace ropesweep::schemes
