// The file of an optimizer's state.
#include "worker/llama/optimizer_state.h"

namespace ropesweep::llama {

std::map<std::string, std::string> state_metadata(int64_t steps_done) {
  return {{"steps_done", std::to_string(steps_done)}};
}

void OptimizerState::save(const std::filesystem::path& file) const {
  SafetensorsWriter writer(file, entries, state_metadata(steps_done));
  for (const std::vector<uint8_t>& bytes : tensors) writer.write(bytes);
  writer.finish();
}

}  // namespace ropesweep::llama
