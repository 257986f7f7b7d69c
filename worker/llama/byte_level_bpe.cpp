// GPT-2's characters for bytes, and the symbols of a word by them.
#include "worker/llama/byte_level_bpe.h"

#include "worker/llama/utf8.h"

namespace ropesweep::llama {

const std::array<char32_t, 256>& byte_characters() {
  static const std::array<char32_t, 256> characters = [] {
    std::array<char32_t, 256> table{};
    char32_t next = 0x100;
    for (char32_t byte = 0; byte < 256; ++byte) {
      const bool itself =
          (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
      table[byte] = itself ? byte : next++;
    }
    return table;
  }();
  return characters;
}

std::optional<std::string> bytes_of_characters(std::string_view characters) {
  static const std::array<int16_t, 0x144> bytes = [] {
    std::array<int16_t, 0x144> table{};
    table.fill(-1);
    for (size_t byte = 0; byte < 256; ++byte) {
      table[byte_characters()[byte]] = static_cast<int16_t>(byte);
    }
    return table;
  }();
  std::string result;
  for (size_t at = 0; at < characters.size();) {
    const CodePoint point = code_point_at(characters, at);
    if (point.length == 0 || point.value >= bytes.size() || bytes[point.value] < 0) return {};
    result.push_back(static_cast<char>(bytes[point.value]));
    at += point.length;
  }
  return result;
}

ByteLevelBpe::ByteLevelBpe(const JsonPlace& model) : BpeModel(model) {
  if (model.boolean_or("byte_fallback", false)) {
    model.at("byte_fallback").fail("is not supported: this is no byte-level BPE");
  }
  byte_ids_.fill(-1);
  for (const auto& [text, id] : vocabulary()) {
    const auto bytes = bytes_of_characters(text);
    if (!bytes) continue;  // no text can give it but as an added token
    if (bytes->size() == 1) byte_ids_[static_cast<uint8_t>(bytes->front())] = id;
    if (ignores_merges()) words_.emplace(*bytes, id);
  }
}

int32_t ByteLevelBpe::id_of_word(std::string_view word) const {
  const auto found = words_.find(std::string(word));
  return found == words_.end() ? -1 : found->second;
}

void ByteLevelBpe::first_symbols(std::string_view word, std::vector<int32_t>& symbols) const {
  bool after_unknown = false;
  for (const char c : word) {
    const int32_t id = byte_ids_[static_cast<uint8_t>(c)];
    const bool unknown = id < 0;
    if (!unknown) {
      symbols.push_back(id);
    } else if (unknown_id() >= 0 && !(fuses_unknown() && after_unknown)) {
      symbols.push_back(unknown_id());
    }
    after_unknown = unknown;
  }
}

}  // namespace ropesweep::llama
