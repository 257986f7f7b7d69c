// `none`: the base model's own positions, θ'_i = θ_i.
#include "experiments/schemes/float32_arithmetic.h"
#include "experiments/schemes/scheme.h"

namespace ropesweep::schemes {
namespace {

FrequencyMap none_map(const MapRequest& request, int64_t) {
  const RotaryShape& shape = request.shape;
  if (request.arithmetic == TableArithmetic::hugging_face) {
    return float32_map(float32_frequencies(shape.head_dim, static_cast<float>(shape.base)));
  }
  return {.inv_freq = base_frequencies(shape, shape.base)};
}

}  // namespace

const SchemeDefinition& none_scheme() {
  static const SchemeDefinition definition = {
      .name = "none",
      .summary = "the base model's own positions (RoPE, Su et al. 2021, arXiv:2104.09864)",
      .options = {},
      .takes_scale = false,
      .scale_option = "",
      .map = none_map};
  return definition;
}

}  // namespace ropesweep::schemes
