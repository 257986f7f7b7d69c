// `xpos` (Sun et al. 2022): rotation by the base map, and amplitudes that let a pair's product fall
// with the distance.
//   ζ_i = (2i + 0.4·d) / (1.4·d);  a_q = ζ_i^((m − c)/B),  a_k = ζ_i^(−(n − c)/B)
// A product has ζ_i^((m − n)/B) whatever the centre c; c only keeps both factors within float32's
// range. It is fixed, the middle of the original length unless given: were it half of the current
// length, cached keys and shared passes of several lengths would have tables of another one.
//
// layout=interleaved pairs elements 2i and 2i + 1 of weights that are permuted for rotate-half:
// what the published experiment did, and likely why its loss never converged.
//
// anneal=A: step t of a fine-tune (from 1) has max(B, A − fall·(t − 1)) in place of B.
#include <algorithm>
#include <cmath>

#include "experiments/scheme_text.h"
#include "experiments/schemes/scheme.h"

namespace ropesweep::schemes {
namespace {

double log_amplitude(const MapRequest& request, int64_t pair, double position) {
  const double dim = static_cast<double>(request.shape.head_dim);
  const double zeta = (2 * static_cast<double>(pair) + 0.4 * dim) / (1.4 * dim);
  const double center =
      request.options.number("center").value_or(request.shape.original_length / 2);
  return std::log(zeta) * (position - center) / *request.options.number("B");
}

AttentionRule xpos_rule(const MapRequest& request) {
  return {.f32_scores = true, .interleaved = request.options.text("layout") == "interleaved"};
}

std::optional<OptionValues> annealed(const MapRequest& request, int64_t step) {
  const auto start = request.options.number("anneal");
  if (!start) return std::nullopt;
  const double last = *request.options.number("B"), fall = *request.options.number("fall");
  return request.options.with(
      "B", shortest_number(std::max(last, *start - fall * static_cast<double>(step - 1))));
}

}  // namespace

const SchemeDefinition& xpos_scheme() {
  static const SchemeDefinition definition = {
      .name = "xpos",
      .summary =
          "rotation, and amplitudes that fall with the distance (Sun et al. 2022, "
          "arXiv:2212.10554)",
      .options = {{.name = "B", .default_value = "512", .meaning = "tokens over which ζ decays"},
                  {.name = "center",
                   .default_value = {},
                   .meaning =
                       "the position of amplitude 1; half the original length when not given",
                   .least_allowed = true},
                  {.name = "layout",
                   .default_value = "rotate-half",
                   .meaning = "interleaved: pairs (2i, 2i+1) of weights permuted for rotate-half",
                   .kind = OptionKind::choice,
                   .choices = {"rotate-half", "interleaved"}},
                  {.name = "anneal",
                   .default_value = {},
                   .meaning = "B of a fine-tune's first step; without it B is the same at each"},
                  {.name = "fall",
                   .default_value = "8",
                   .meaning = "what B falls by at each step, to its final value"}},
      .takes_scale = false,
      .scale_option = "",
      .map = own_map,
      .rule = xpos_rule,
      .log_amplitude = log_amplitude,
      .options_at_step = annealed};
  return definition;
}

}  // namespace ropesweep::schemes
