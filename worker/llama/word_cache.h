// Words that were encoded before. Prose repeats its words, so most merging is done once.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace ropesweep::llama {

class WordCache {
 public:
  /// The ids of a word, or null; valid until the cache goes.
  const std::vector<int32_t>* find(std::string_view word) const {
    const auto found = words_.find(word);
    return found == words_.end() ? nullptr : &found->second;
  }
  /// Keeps a word's ids, but not of long words nor without end.
  void insert(std::string_view word, std::vector<int32_t> ids) {
    if (words_.size() < most_words && word.size() <= longest_word) {
      words_.emplace(std::string(word), std::move(ids));
    }
  }

 private:
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view word) const { return std::hash<std::string_view>()(word); }
  };
  static constexpr size_t most_words = 1 << 17, longest_word = 128;
  std::unordered_map<std::string, std::vector<int32_t>, Hash, std::equal_to<>> words_;
};

}  // namespace ropesweep::llama
