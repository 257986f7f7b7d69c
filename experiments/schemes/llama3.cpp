// `llama3`: the map of Llama 3.1, a ramp over the turns within the original length (Meta 2024, the
// released implementation; transformers' `llama3`), λ_i = 2π/θ_i:
//   λ < L0/high: θ · λ > L0/low: θ/s · between: g = (L0/λ − low)/(high − low),
//   θ' = (1 − g)·θ/s + g·θ
#include <numbers>

#include "experiments/error.h"
#include "experiments/schemes/float32_arithmetic.h"
#include "experiments/schemes/scheme.h"

namespace ropesweep::schemes {
namespace {

struct Bounds {
  double low = 1, high = 4;  ///< turns within the original length
};

std::vector<double> exact_frequencies(const MapRequest& request, const Bounds& bounds) {
  std::vector<double> frequencies = base_frequencies(request.shape, request.shape.base);
  for (double& frequency : frequencies) {
    const double wavelength = 2 * std::numbers::pi / frequency;
    const double original = request.shape.original_length;
    if (wavelength < original / bounds.high) continue;
    if (wavelength > original / bounds.low) {
      frequency /= request.scale;
      continue;
    }
    const double keep = (original / wavelength - bounds.low) / (bounds.high - bounds.low);
    frequency = (1 - keep) * frequency / request.scale + keep * frequency;
  }
  return frequencies;
}

/// The same in transformers' order of float32 operations; a number divided by a tensor is, in
/// PyTorch, the tensor's reciprocal times the number.
std::vector<float> float32_llama3(const MapRequest& request, const Bounds& bounds) {
  const auto single = [](double value) { return static_cast<float>(value); };
  const double original = request.shape.original_length;
  const float scale = single(request.scale);
  std::vector<float> frequencies =
      float32_frequencies(request.shape.head_dim, single(request.shape.base));
  for (float& frequency : frequencies) {
    const float wavelength = (1.0F / frequency) * single(2 * std::numbers::pi);
    if (wavelength < single(original / bounds.high)) continue;
    if (wavelength > single(original / bounds.low)) {
      frequency /= scale;
      continue;
    }
    const float turns = (1.0F / wavelength) * single(original);
    const float keep = (turns - single(bounds.low)) / single(bounds.high - bounds.low);
    // volatile: each product is rounded before the sum, on machines with fused multiply-add too.
    const volatile float part = (1.0F - keep) * frequency;
    const volatile float interpolated = part / scale;
    const volatile float kept = keep * frequency;
    frequency = interpolated + kept;
  }
  return frequencies;
}

FrequencyMap llama3_map(const MapRequest& request, int64_t) {
  const Bounds bounds = {*request.options.number("low_freq_factor"),
                         *request.options.number("high_freq_factor")};
  if (!(bounds.high > bounds.low)) {
    throw_user_error(
        "scheme llama3: high_freq_factor ({}) must be greater than low_freq_factor ({})",
        bounds.high, bounds.low);
  }
  if (request.arithmetic == TableArithmetic::hugging_face) {
    return float32_map(float32_llama3(request, bounds));
  }
  return {.inv_freq = exact_frequencies(request, bounds)};
}

}  // namespace

const SchemeDefinition& llama3_scheme() {
  static const SchemeDefinition definition = {
      .name = "llama3",
      .summary =
          "Llama 3.1's: interpolates low frequencies only (Grattafiori et al. 2024, "
          "arXiv:2407.21783, and its released code)",
      .options = {{.name = "low_freq_factor",
                   .default_value = "1",
                   .meaning = "turns below which a pair is divided by the whole scale"},
                  {.name = "high_freq_factor",
                   .default_value = "4",
                   .meaning = "turns above which a pair is kept"}},
      .scale_option = "",
      .map = llama3_map};
  return definition;
}

}  // namespace ropesweep::schemes
