// `file`: frequencies that a file states, θ'_i = its i-th number. No scale.
#include "experiments/error.h"
#include "experiments/schemes/float32_arithmetic.h"
#include "experiments/schemes/frequency_file.h"
#include "experiments/schemes/scheme.h"

namespace ropesweep::schemes {
namespace {

FrequencyMap file_map(const MapRequest& request, int64_t) {
  const FrequencyFile& file = *request.file;
  const size_t pairs = static_cast<size_t>(request.shape.head_dim / 2);
  if (file.inv_freq.size() != pairs) {
    throw_user_error("{}: {} frequencies (inv_freq), but {} rotated elements of a head need {}",
                     file.path, file.inv_freq.size(), request.shape.head_dim, pairs);
  }
  const double factor = file.attention_factor == 0 ? 1.0 : file.attention_factor;
  if (request.arithmetic == TableArithmetic::hugging_face) {
    return float32_map({file.inv_freq.begin(), file.inv_freq.end()}, factor);
  }
  return {file.inv_freq, factor, factor};
}

}  // namespace

const SchemeDefinition& file_scheme() {
  static const SchemeDefinition definition = {
      .name = "file",
      .summary = "frequencies from a file: JSON with inv_freq and attention_factor, or one a line",
      .options = {{.name = "path",
                   .default_value = {},
                   .meaning = "the file, e.g. file(frequencies.json); its content counts",
                   .kind = OptionKind::path,
                   .required = true}},
      .takes_scale = false,
      .scale_option = "",
      .map = file_map};
  return definition;
}

}  // namespace ropesweep::schemes
