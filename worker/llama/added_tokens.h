// The added tokens of a tokenizer.json: found in the text before anything cuts it.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "worker/llama/json_place.h"
#include "worker/llama/normalizer.h"

namespace ropesweep::llama {

struct AddedToken {
  int32_t id = -1;
  std::string text;
  bool special = false;      ///< left out by a decoding that skips special tokens
  bool single_word = false;  ///< not within a word
  bool lstrip = false;       ///< takes the white space before it
  bool rstrip = false;       ///< takes the white space after it
  bool normalized = false;   ///< looked for in normalized text
};

class AddedTokens {
 public:
  /// `tokens`: the file's `added_tokens`; `vocabulary`: the model's, whose ids hold for texts it
  /// has; `normalizer`: what makes of a normalized token the text that is looked for. Errors: user
  /// error naming file and field for ids out of range, given twice or at odds with the vocabulary.
  AddedTokens(const JsonPlace& tokens, const std::unordered_map<std::string, int32_t>& vocabulary,
              const Normalizer& normalizer);

  const std::vector<AddedToken>& all() const { return tokens_; }
  bool is_special(int32_t id) const { return special_.contains(id); }

  /// Cuts `text` at the tokens with that `normalized` flag: calls `take` with each piece in order,
  /// and with the id where the piece is a token (leftmost, then longest).
  void split(
      std::string_view text, bool normalized,
      const std::function<void(std::string_view piece, std::optional<int32_t> id)>& take) const;

 private:
  /// The texts of one set as a tree of bytes.
  struct Node {
    std::map<unsigned char, size_t> children;
    const AddedToken* token = nullptr;
  };
  using Trie = std::vector<Node>;

  /// The token whose text is the longest at `at` (null: none), and where that text ends.
  struct Match {
    const AddedToken* token = nullptr;
    size_t end = 0;
  };
  static Match longest_match(const Trie& trie, std::string_view text, size_t at);
  void insert(const std::string& text, const AddedToken& token, Trie& trie);

  std::vector<AddedToken> tokens_;
  std::unordered_set<int32_t> special_;
  Trie plain_, normalized_;
};

}  // namespace ropesweep::llama
