// `yarn`: high frequencies stay, low ones are divided by the scale, a ramp over the pair index
// between; queries and keys are multiplied by μ. The released implementation's ramp (Peng et al.
// 2023, arXiv:2309.00071), as transformers has it:
//   dim(r) = d·ln(L0/(2π·r)) / (2·ln b) · low = ⌊dim(β_fast)⌋, high = ⌈dim(β_slow)⌉, within [0,
//   d−1] t_i = clip((i − low)/(high − low), 0, 1) · θ'_i = (1 − t_i)·θ_i + t_i·θ_i/s · μ = 0.1·ln s
//   + 1
// `dynamic-yarn`: the same with s = max(1, L/L0), L the current length; the base model's own
// positions up to L0.
#include <algorithm>
#include <cmath>
#include <numbers>

#include "experiments/schemes/float32_arithmetic.h"
#include "experiments/schemes/scheme.h"

namespace ropesweep::schemes {
namespace {

/// The pair index (a real number) whose frequency makes `rotations` turns within the original
/// length.
double correction_dimension(double rotations, const RotaryShape& shape) {
  return static_cast<double>(shape.head_dim) *
         std::log(shape.original_length / (rotations * 2 * std::numbers::pi)) /
         (2 * std::log(shape.base));
}

struct Ramp {
  double low = 0, high = 0;
};

Ramp correction_range(const MapRequest& request) {
  Ramp ramp = {correction_dimension(*request.options.number("beta_fast"), request.shape),
               correction_dimension(*request.options.number("beta_slow"), request.shape)};
  if (request.options.boolean("truncate")) ramp = {std::floor(ramp.low), std::ceil(ramp.high)};
  ramp.low = std::max(ramp.low, 0.0);
  ramp.high = std::min(ramp.high, static_cast<double>(request.shape.head_dim - 1));
  if (ramp.low == ramp.high) ramp.high += 0.001;
  return ramp;
}

/// 0.1·m·ln s + 1, and 1 for s ≤ 1.
double magnitude(double scale, double multiplier) {
  return scale <= 1 ? 1.0 : 0.1 * multiplier * std::log(scale) + 1.0;
}

/// μ. `attention_factor` goes before `mscale`, which counts with `mscale_all_dim` only.
double attention_factor(const MapRequest& request) {
  if (const auto factor = request.options.number("attention_factor")) return *factor;
  const double mscale = request.options.number("mscale").value_or(0);
  const double mscale_all_dim = request.options.number("mscale_all_dim").value_or(0);
  if (mscale != 0 && mscale_all_dim != 0) {
    return magnitude(request.scale, mscale) / magnitude(request.scale, mscale_all_dim);
  }
  return magnitude(request.scale, 1);
}

std::vector<double> exact_frequencies(const MapRequest& request, const Ramp& ramp) {
  std::vector<double> frequencies = base_frequencies(request.shape, request.shape.base);
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const double ratio = (static_cast<double>(i) - ramp.low) / (ramp.high - ramp.low);
    const double interpolated = std::clamp(ratio, 0.0, 1.0);
    frequencies[i] *= (1 - interpolated) + interpolated / request.scale;
  }
  return frequencies;
}

/// The same in transformers' order of float32 operations.
std::vector<float> float32_yarn(const MapRequest& request, const Ramp& ramp) {
  const std::vector<float> wavelengths =
      float32_wavelengths(request.shape.head_dim, static_cast<float>(request.shape.base));
  const float scale = static_cast<float>(request.scale);
  const float low = static_cast<float>(ramp.low);
  const float width = static_cast<float>(ramp.high - ramp.low);
  std::vector<float> frequencies;
  for (size_t i = 0; i < wavelengths.size(); ++i) {
    const float extrapolation = 1.0F / wavelengths[i];
    const float interpolation = 1.0F / (scale * wavelengths[i]);
    const float keep = 1.0F - std::clamp((static_cast<float>(i) - low) / width, 0.0F, 1.0F);
    // volatile: each product is rounded before the sum, on machines with fused multiply-add too.
    const volatile float interpolated = interpolation * (1.0F - keep);
    const volatile float kept = extrapolation * keep;
    frequencies.push_back(interpolated + kept);
  }
  return frequencies;
}

FrequencyMap yarn_map(const MapRequest& request, int64_t) {
  const Ramp ramp = correction_range(request);
  const double factor = attention_factor(request);
  if (request.arithmetic == TableArithmetic::hugging_face) {
    return float32_map(float32_yarn(request, ramp), factor);
  }
  return {exact_frequencies(request, ramp), factor, factor};
}

FrequencyMap dynamic_yarn_map(const MapRequest& request, int64_t length) {
  MapRequest current = request;
  current.scale = static_cast<double>(length) / request.shape.original_length;
  return current.scale > 1 ? yarn_map(current, length) : none_scheme().map(request, length);
}

std::vector<SchemeOption> yarn_options() {
  return {{.name = "beta_fast",
           .default_value = "32",
           .meaning = "rotations within the original length above which a pair is kept"},
          {.name = "beta_slow",
           .default_value = "1",
           .meaning = "rotations below which a pair is divided by the whole scale"},
          {.name = "attention_factor",
           .default_value = {},
           .meaning = "amplitude of queries and keys; 0.1·ln s + 1 when not given"},
          {.name = "mscale",
           .default_value = {},
           .meaning = "with mscale_all_dim: amplitude (0.1·mscale·ln s + 1) / …",
           .least_allowed = true},
          {.name = "mscale_all_dim",
           .default_value = {},
           .meaning = "… (0.1·mscale_all_dim·ln s + 1)",
           .least_allowed = true},
          {.name = "truncate",
           .default_value = "true",
           .meaning = "false: the ramp's ends are not rounded to whole pairs",
           .kind = OptionKind::boolean}};
}

}  // namespace

const SchemeDefinition& yarn_scheme() {
  static const SchemeDefinition definition = {
      .name = "yarn",
      .summary =
          "interpolates low frequencies only and sharpens attention (Peng et al. 2023, "
          "arXiv:2309.00071)",
      .options = yarn_options(),
      .scale_option = "",
      .map = yarn_map};
  return definition;
}

const SchemeDefinition& dynamic_yarn_scheme() {
  static const SchemeDefinition definition = {
      .name = "dynamic-yarn",
      .summary =
          "YaRN by the current length over the original one, past it (Peng et al. 2023, "
          "arXiv:2309.00071, 3.3)",
      .options = yarn_options(),
      .takes_scale = false,
      .scale_option = "",
      .depends_on_length = true,
      .map = dynamic_yarn_map};
  return definition;
}

}  // namespace ropesweep::schemes
