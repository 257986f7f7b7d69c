// Byte-level byte-pair encoding (Llama 3, Qwen2, GPT-NeoX): the model of a tokenizer.json, on bytes
// instead of the characters that the file writes for them. Radford et al. 2019.
#pragma once

#include <array>
#include <optional>

#include "worker/llama/bpe_model.h"

namespace ropesweep::llama {

/// The characters that stand for the 256 bytes (GPT-2's bytes_to_unicode): printable Latin-1 for
/// itself, the rest from U+0100 on.
const std::array<char32_t, 256>& byte_characters();

/// The bytes that a token's text stands for; nothing when it holds another character.
std::optional<std::string> bytes_of_characters(std::string_view characters);

class ByteLevelBpe : public BpeModel {
 public:
  explicit ByteLevelBpe(const JsonPlace& model);

 private:
  void first_symbols(std::string_view word, std::vector<int32_t>& symbols) const override;
  int32_t id_of_word(std::string_view word) const override;

  std::unordered_map<std::string, int32_t>
      words_;                            ///< bytes → id, when merges are ignored for words
  std::array<int32_t, 256> byte_ids_{};  ///< −1: the vocabulary lacks the byte
};

}  // namespace ropesweep::llama
