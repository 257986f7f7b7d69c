// Names, and runs of bytes, of fused query, key and value.
#include "worker/llama/fused_heads.h"

#include <algorithm>
#include <array>

namespace ropesweep::llama {
namespace {

// As weight_slots.cpp names them. No Llama's name holds these.
constexpr std::array<const char*, kFused> part_names = {".attention.query.", ".attention.key.",
                                                        ".attention.value."};
constexpr const char* stored_name = ".attention.query_key_value.";

}  // namespace

std::string fused_name(const std::string& name) {
  for (const std::string part : part_names) {
    const size_t at = name.find(part);
    if (at != std::string::npos) return std::string(name).replace(at, part.size(), stored_name);
  }
  return {};
}

int64_t fused_part(const std::string& name) {
  return std::find_if(part_names.begin(), part_names.end(),
                      [&](const char* part) { return name.find(part) != std::string::npos; }) -
         part_names.begin();
}

backend::Shape fused_shape(const backend::Shape& shape) {
  backend::Shape whole = shape;
  whole.front() *= kFused;
  return whole;
}

std::vector<uint8_t> split_heads(std::span<const uint8_t> fused, int64_t heads, int64_t part) {
  const auto count = static_cast<size_t>(heads);
  const size_t run = fused.size() / (count * kFused);
  std::vector<uint8_t> bytes(run * count);
  for (size_t head = 0; head < count; ++head) {
    const auto from = fused.subspan((head * kFused + static_cast<size_t>(part)) * run, run);
    std::copy(from.begin(), from.end(), bytes.begin() + static_cast<int64_t>(head * run));
  }
  return bytes;
}

std::vector<uint8_t> join_heads(std::span<const std::vector<uint8_t>> parts, int64_t heads) {
  const auto count = static_cast<size_t>(heads);
  const size_t run = parts.front().size() / count;
  std::vector<uint8_t> fused(run * count * parts.size());
  auto to = fused.begin();
  for (size_t head = 0; head < count; ++head) {
    for (const std::vector<uint8_t>& part : parts) {
      to = std::copy_n(part.begin() + static_cast<int64_t>(head * run), run, to);
    }
  }
  return fused;
}

}  // namespace ropesweep::llama
