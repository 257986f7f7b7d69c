// config.json: read, counted, and its positions written and read again.
#include "fuzz.h"
#include "worker/llama/config.h"
#include "worker/llama/rope_settings.h"

using namespace ropesweep;
using namespace ropesweep::llama;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const fuzz::MemoryFile file;
  file.write(fuzz::text_of(data, size));
  fuzz::accepted([] {
    const Config config = read_config(file.path());
    static_cast<void>(geometry_of(config));
    fuzz::require(config.head_dim >= 32 && config.head_dim <= 256 && config.heads >= 1,
                  "a config that is read can be computed with");
    nlohmann::json written = config.source;
    write_rope_settings(written, config.own_scheme, config.own_scale, config.rotary);
    const RopeSettings again = read_rope_settings(written, config.head_dim, "written");
    fuzz::require(again.scheme == config.own_scheme && again.scale == config.own_scale,
                  "positions that were written are read again");
  });
  return 0;
}
