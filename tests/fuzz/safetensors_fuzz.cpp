// Safetensors files and indices of shards. A mutator of its own keeps the header's length right
// most of the time, or nothing behind it would be reached.
#include <algorithm>
#include <cstring>
#include <vector>

#include "fuzz.h"
#include "worker/llama/safetensors.h"

using namespace ropesweep;
using namespace ropesweep::llama;

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t most);

namespace {

constexpr size_t length_bytes = sizeof(uint64_t);

void read_all(const SafetensorsReader& reader) {
  for (const std::string& name : reader.names()) {
    fuzz::accepted([&] {
      const FileTensor tensor = reader.tensor(name);
      read_ahead(tensor);
      const std::vector<float> values = to_f32(tensor);
      fuzz::require(values.size() == to_bf16(tensor).size(), "both types have every element");
    });
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const fuzz::MemoryFile file, index, shard;
  static const fuzz::MemoryDirectory directory;
  static const bool once = [] {
    directory.name("model.safetensors.index.json", index);
    directory.name("a.safetensors", shard);
    std::string header = R"({"x":{"dtype":"BF16","shape":[1,2],"data_offsets":[0,4]}})";
    const uint64_t length = header.size();
    shard.write(std::string(reinterpret_cast<const char*>(&length), length_bytes) + header +
                "1234");
    return true;
  }();
  static_cast<void>(once);
  const std::string_view text = fuzz::text_of(data, size);
  if (text.starts_with('{')) {
    index.write(text);
    fuzz::accepted([] {
      const SafetensorsDirectory weights(directory.path());
      for (const std::string& name : weights.names()) {
        fuzz::accepted([&] { static_cast<void>(weights.tensor(name)); });
      }
    });
    return 0;
  }
  file.write(text);
  fuzz::accepted([] { read_all(SafetensorsReader(file.path())); });
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t most,
                                          unsigned int seed) {
  uint64_t length = 0;
  const bool plain = seed % 8 == 0 || size < length_bytes || data[0] == '{' || most < 64;
  if (!plain) std::memcpy(&length, data, length_bytes);
  if (plain || length > size - length_bytes) return LLVMFuzzerMutate(data, size, most);
  // The header or the data behind it, each with room to grow.
  uint8_t* const middle = data + length_bytes + length;
  std::vector<uint8_t> header(data + length_bytes, middle), rest(middle, data + size);
  std::vector<uint8_t>& part = seed % 8 < 6 ? header : rest;
  const size_t other = size - part.size();
  const size_t old = part.size();
  if (most == other) return LLVMFuzzerMutate(data, size, most);  // an empty part without room
  part.resize(most - other);
  part.resize(LLVMFuzzerMutate(part.data(), old, part.size()));
  length = header.size();
  std::memcpy(data, &length, length_bytes);
  std::copy(header.begin(), header.end(), data + length_bytes);
  std::copy(rest.begin(), rest.end(), data + length_bytes + header.size());
  return length_bytes + header.size() + rest.size();
}
