// Files of frequencies or factors that a scheme's text names. Internal to experiments/ and to the
// exporter.
#pragma once

#include <string>
#include <vector>

namespace ropesweep::schemes {

/// What a file holds; what it lacks is empty.
struct FrequencyFile {
  std::string path;
  std::vector<double> inv_freq = {};                        ///< θ', radians per token
  std::vector<double> short_factor = {}, long_factor = {};  ///< λ, by which θ is divided
  double attention_factor = 0;                              ///< μ; 0: not given
};

/// Reads `path`: a JSON object with inv_freq, or short_factor and long_factor (at its top, or in
/// rope_parameters or rope_scaling as a config.json has them), and attention_factor if any; or a
/// JSON list or plain lines of frequencies. Errors: user error with file and place.
FrequencyFile read_frequency_file(const std::string& path);

}  // namespace ropesweep::schemes
