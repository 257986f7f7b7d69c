// BPE over characters with bytes for those that the vocabulary lacks: the model of a tokenizer.json
// that was made of a SentencePiece model (Llama 2). Spaces are "▁" (U+2581) by then.
#pragma once

#include <array>

#include "worker/llama/bpe_model.h"

namespace ropesweep::llama {

class CharacterBpe : public BpeModel {
 public:
  /// Reads byte_fallback besides what BpeModel reads.
  explicit CharacterBpe(const JsonPlace& model);

  /// Parts begin at "▁" where no merge joins it to a character before it.
  size_t part_end(std::string_view word, size_t from) const override;

 private:
  void first_symbols(std::string_view word, std::vector<int32_t>& symbols) const override;
  int32_t id_of_word(std::string_view word) const override;
  bool append_bytes(std::string_view character, std::vector<int32_t>& symbols) const;

  std::unordered_map<char32_t, int32_t> characters_;
  std::array<int32_t, 256> byte_ids_{};  ///< of "<0x00>" to "<0xFF>"; −1: none
  bool cuts_at_spaces_ = false;
};

}  // namespace ropesweep::llama
