// Byte-level byte-pair encoding: the model of a tokenizer.json, on bytes instead of the characters
// that the file writes for them. Sennrich et al. 2016 (algorithm 1), Radford et al. 2019 (byte
// level).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "worker/llama/json_place.h"

namespace ropesweep::llama {

/// The characters that stand for the 256 bytes (GPT-2's bytes_to_unicode): printable Latin-1 for
/// itself, the rest from U+0100 on.
const std::array<char32_t, 256>& byte_characters();

/// The bytes that a token's text stands for; nothing when it holds another character.
std::optional<std::string> bytes_of_characters(std::string_view characters);

class ByteLevelBpe {
 public:
  /// Reads the `model` of a tokenizer.json: type BPE, vocabulary, merges ("a b" or ["a", "b"]),
  /// ignore_merges, unk_token, fuse_unk. Errors: user error naming file and field.
  explicit ByteLevelBpe(const JsonPlace& model);

  /// Appends the ids of one pre-token's bytes.
  void encode(std::string_view word, std::vector<int32_t>& ids) const;

  /// Token texts as the file writes them → ids.
  const std::unordered_map<std::string, int32_t>& vocabulary() const { return vocabulary_; }

 private:
  struct Merge {
    int32_t rank = no_merge;
    int32_t id = -1;
  };
  static constexpr int32_t no_merge = INT32_MAX;

  void read_vocabulary(const JsonPlace& vocabulary);
  void read_merges(const JsonPlace& merges);
  Merge merge_of(int32_t left, int32_t right) const;
  void first_symbols(std::string_view word, std::vector<int32_t>& symbols) const;
  void merge_short(std::vector<int32_t>& symbols) const;
  void merge_long(std::vector<int32_t>& symbols) const;

  std::unordered_map<std::string, int32_t> vocabulary_;
  std::unordered_map<std::string, int32_t>
      words_;                                   ///< bytes → id, when merges are ignored for words
  std::unordered_map<uint64_t, Merge> merges_;  ///< (left, right) → rank and result
  std::array<int32_t, 256> byte_ids_{};         ///< −1: the vocabulary lacks the byte
  int32_t unknown_id_ = -1;
  bool fuse_unknown_ = false;
  bool ignore_merges_ = false;
};

}  // namespace ropesweep::llama
