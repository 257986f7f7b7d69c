// A copy of an optimizer's state in the host's memory, to be written while the next steps change
// the state itself.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "worker/llama/safetensors.h"

namespace ropesweep::llama {

struct OptimizerState {
  int64_t steps_done = 0;
  std::vector<SafetensorsWriter::Entry> entries;
  std::vector<std::vector<uint8_t>> tensors;  ///< the entries' bytes

  /// Writes what Optimizer::save writes, to the byte. Errors: transient, naming the file.
  void save(const std::filesystem::path& file) const;
};

/// What the file of a state says of itself.
std::map<std::string, std::string> state_metadata(int64_t steps_done);

}  // namespace ropesweep::llama
