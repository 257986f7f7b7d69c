// `longrope`: each frequency divided by a factor found by search, one list up to the original
// length and one past it (Ding et al. 2024, arXiv:2402.13753; transformers' `longrope`):
//   θ'_i = θ_i/λ_i, λ = short_factor for L ≤ L0, else long_factor
//   μ = √(1 + ln s / ln L0), 1 for s ≤ 1
// The lists come from a file, or else from the checkpoint's own config.
#include <cmath>

#include "experiments/error.h"
#include "experiments/schemes/float32_arithmetic.h"
#include "experiments/schemes/frequency_file.h"
#include "experiments/schemes/scheme.h"

namespace ropesweep::schemes {
namespace {

const std::vector<double>& factors(const MapRequest& request, bool past_original) {
  const RotaryShape& shape = request.shape;
  const FrequencyFile* file = request.file.get();
  const std::string name = past_original ? "long_factor" : "short_factor";
  const std::vector<double>& list = file != nullptr
                                        ? (past_original ? file->long_factor : file->short_factor)
                                        : (past_original ? shape.long_factor : shape.short_factor);
  if (list.empty() && file == nullptr) {
    throw_user_error(
        "scheme longrope: the checkpoint has no factors of its own; name a file: "
        "longrope(file=PATH) with short_factor and long_factor");
  }
  if (list.size() != static_cast<size_t>(shape.head_dim / 2)) {
    throw_user_error("{}: {} holds {} numbers, but {} rotated elements of a head need {}",
                     file != nullptr ? file->path : "scheme longrope: the checkpoint's config",
                     name, list.size(), shape.head_dim, shape.head_dim / 2);
  }
  return list;
}

/// The option goes before the lists' own, and that before the formula.
double attention_factor(const MapRequest& request) {
  if (const auto factor = request.options.number("attention_factor")) return *factor;
  const double own =
      request.file != nullptr ? request.file->attention_factor : request.shape.attention_factor;
  if (own != 0) return own;
  if (request.scale <= 1) return 1.0;
  return std::sqrt(1 + std::log(request.scale) / std::log(request.shape.original_length));
}

FrequencyMap longrope_map(const MapRequest& request, int64_t length) {
  const RotaryShape& shape = request.shape;
  const bool past_original = static_cast<double>(length) > shape.original_length;
  const std::vector<double>& lambda = factors(request, past_original);
  const double factor = attention_factor(request);
  if (request.arithmetic == TableArithmetic::hugging_face) {
    std::vector<float> values = float32_wavelengths(shape.head_dim, static_cast<float>(shape.base));
    for (size_t i = 0; i < values.size(); ++i) {
      values[i] = 1.0F / (static_cast<float>(lambda[i]) * values[i]);
    }
    return float32_map(values, factor);
  }
  FrequencyMap map{base_frequencies(shape, shape.base), factor, factor};
  for (size_t i = 0; i < lambda.size(); ++i) map.inv_freq[i] /= lambda[i];
  return map;
}

}  // namespace

const SchemeDefinition& longrope_scheme() {
  static const SchemeDefinition definition = {
      .name = "longrope",
      .summary =
          "frequencies divided by searched factors, other ones past the original length (Ding et "
          "al. 2024, arXiv:2402.13753)",
      .options = {{.name = "file",
                   .default_value = {},
                   .meaning = "JSON with short_factor, long_factor and perhaps attention_factor; "
                              "the checkpoint's own config when not given",
                   .kind = OptionKind::path},
                  {.name = "attention_factor",
                   .default_value = {},
                   .meaning = "amplitude of queries and keys; the lists' own, or else "
                              "√(1 + ln s / ln L0), when not given"}},
      .scale_option = "",
      .base_at_scale_one = false,
      .depends_on_length = true,
      .map = longrope_map};
  return definition;
}

}  // namespace ropesweep::schemes
