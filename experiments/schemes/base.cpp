// `base`: another rotary base, θ'_i = b'^(−2i/d) (adjusted base frequency). No scale.
#include "experiments/schemes/float32_arithmetic.h"
#include "experiments/schemes/scheme.h"

namespace ropesweep::schemes {
namespace {

FrequencyMap base_map(const MapRequest& request, int64_t) {
  const double base = *request.options.number("b");
  if (request.arithmetic == TableArithmetic::hugging_face) {
    return float32_map(float32_frequencies(request.shape.head_dim, static_cast<float>(base)));
  }
  return {.inv_freq = base_frequencies(request.shape, base)};
}

}  // namespace

const SchemeDefinition& base_scheme() {
  static const SchemeDefinition definition = {
      .name = "base",
      .summary =
          "another rotary base (Xiong et al. 2023, arXiv:2309.16039; Code Llama, Rozière et al. "
          "2023, arXiv:2308.12950)",
      .options = {{.name = "b",
                   .default_value = "1e+06",
                   .meaning = "the base in place of the checkpoint's",
                   .least = 1,
                   .always_shown = true}},
      .takes_scale = false,
      .scale_option = "",
      .map = base_map};
  return definition;
}

}  // namespace ropesweep::schemes
