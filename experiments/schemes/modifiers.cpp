// Maps made of another map θ':
//   resonance(MAP):  θ''_i = 2π / round(2π/θ'_i): whole wavelengths (Wang et al. 2024,
//                    arXiv:2403.00071)
//   p-rope(p, MAP):  θ''_i = 0 past the first ⌊p·d/2⌋ pairs (Barbero et al. 2024, arXiv:2410.06205)
//   nope:            p = 0: no positions at all (Kazemnejad et al. 2023, arXiv:2305.19466)
//   partial(p, MAP): only the first ⌊p·d⌋ elements are rotated, as if they were the whole head
//                    (GPT-NeoX, Black et al. 2022, arXiv:2204.06745)
#include <algorithm>
#include <cmath>
#include <numbers>

#include "experiments/error.h"
#include "experiments/schemes/float32_arithmetic.h"
#include "experiments/schemes/scheme.h"

namespace ropesweep::schemes {
namespace {

/// Values of the exact arithmetic, rounded once where float32 is asked for.
FrequencyMap rounded(FrequencyMap map, const MapRequest& request) {
  if (request.arithmetic == TableArithmetic::hugging_face) {
    for (double& frequency : map.inv_freq) {
      frequency = static_cast<double>(static_cast<float>(frequency));
    }
  }
  return map;
}

FrequencyMap resonance_map(const MapRequest& request, int64_t length) {
  FrequencyMap map = request.inner.map(request.shape, length);
  for (double& frequency : map.inv_freq) {
    if (frequency == 0) continue;
    // No wavelength is shorter than a token, whatever a file of frequencies says.
    const double wavelength = std::max(1.0, std::round(2 * std::numbers::pi / frequency));
    frequency = 2 * std::numbers::pi / wavelength;
  }
  return rounded(std::move(map), request);
}

/// ⌊p·d/2⌋.
size_t rotating_pairs(const MapRequest& request) {
  const double share = *request.options.number("p");
  return static_cast<size_t>(share * static_cast<double>(request.shape.head_dim) / 2);
}

/// transformers' `proportional` takes the power of these pairs alone, and PyTorch's last bits
/// depend on how many there are.
void float32_proportional(const MapRequest& request, size_t pairs, double scale,
                          FrequencyMap& map) {
  const RotaryShape& shape = request.shape;
  const std::vector<float> wavelengths = float32_wavelengths(
      shape.head_dim, static_cast<float>(shape.base), float32_chunk(), static_cast<int64_t>(pairs));
  for (size_t i = 0; i < pairs; ++i) {
    const float frequency = 1.0F / wavelengths[i];
    map.inv_freq[i] = static_cast<double>(frequency / static_cast<float>(scale));
  }
}

FrequencyMap p_rope_map(const MapRequest& request, int64_t length) {
  FrequencyMap map = request.inner.map(request.shape, length);
  const size_t pairs = rotating_pairs(request);
  if (request.arithmetic == TableArithmetic::hugging_face) {
    const std::string& inner = request.inner.name;
    if (inner == "none") float32_proportional(request, pairs, 1, map);
    if (inner == "linear") float32_proportional(request, pairs, request.inner.scale, map);
  }
  for (size_t i = pairs; i < map.inv_freq.size(); ++i) map.inv_freq[i] = 0;
  return map;
}

FrequencyMap nope_map(const MapRequest& request, int64_t) {
  return {.inv_freq = std::vector<double>(static_cast<size_t>(request.shape.head_dim / 2), 0.0)};
}

FrequencyMap partial_map(const MapRequest& request, int64_t length) {
  const double share = *request.options.number("p");
  RotaryShape shape = request.shape;
  shape.head_dim = static_cast<int64_t>(share * static_cast<double>(shape.head_dim));
  if (shape.head_dim < 4 || shape.head_dim % 2 != 0) {
    throw_user_error("scheme partial: {} of {} elements are {}, which must be even and at least 4",
                     share, request.shape.head_dim, shape.head_dim);
  }
  return request.inner.map(shape, length);
}

std::string shorter_p_rope(const OptionValues& options) {
  if (*options.number("p") == 0 && options.text("map") == "none") return "nope";
  return *options.number("p") == 1 ? options.text("map") : "";
}

std::string shorter_partial(const OptionValues& options) {
  return *options.number("p") == 1 ? options.text("map") : "";
}

SchemeOption share_option(const char* usual, const char* meaning, bool zero_allowed) {
  return {.name = "p",
          .default_value = usual,
          .meaning = meaning,
          .least_allowed = zero_allowed,
          .most = 1,
          .always_shown = true,
          .unnamed = true};
}

}  // namespace

const SchemeDefinition& resonance_scheme() {
  static const SchemeDefinition definition = {
      .name = "resonance",
      .summary =
          "any map with wavelengths rounded to whole tokens (Wang et al. 2024, arXiv:2403.00071)",
      .options = {map_option()},
      .takes_scale = false,
      .scale_option = "",
      .map = resonance_map};
  return definition;
}

const SchemeDefinition& p_rope_scheme() {
  static const SchemeDefinition definition = {
      .name = "p-rope",
      .summary =
          "any map with its lowest frequencies at zero (Barbero et al. 2024, arXiv:2410.06205)",
      .options = {share_option("0.75", "share of the pairs that keep their frequency, 0 to 1",
                               true),
                  map_option()},
      .takes_scale = false,
      .scale_option = "",
      .map = p_rope_map,
      .shorter = shorter_p_rope};
  return definition;
}

const SchemeDefinition& nope_scheme() {
  static const SchemeDefinition definition = {
      .name = "nope",
      .summary = "no positions at all, p-rope(0) (Kazemnejad et al. 2023, arXiv:2305.19466)",
      .options = {},
      .takes_scale = false,
      .scale_option = "",
      .map = nope_map};
  return definition;
}

const SchemeDefinition& partial_scheme() {
  static const SchemeDefinition definition = {
      .name = "partial",
      .summary =
          "any map over the first elements of a head, the others not rotated (GPT-NeoX, Black et "
          "al. 2022, arXiv:2204.06745)",
      .options = {share_option("0.25", "share of the elements that are rotated, up to 1", false),
                  map_option()},
      .takes_scale = false,
      .scale_option = "",
      .map = partial_map,
      .shorter = shorter_partial};
  return definition;
}

}  // namespace ropesweep::schemes
