// PCRE2 with its just-in-time compiler behind RAII: the regular expressions of tokenizer.json,
// which are written for Oniguruma.
#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace ropesweep::llama {

class Regex {
 public:
  /// `literal`: the pattern is plain text. Throws std::invalid_argument with PCRE2's reason and
  /// place.
  explicit Regex(const std::string& pattern, bool literal = false);
  ~Regex();
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;

  /// State of one search, reused from match to match; one a thread.
  class Search {
   public:
    explicit Search(const Regex& regex);
    ~Search();
    Search(const Search&) = delete;
    Search& operator=(const Search&) = delete;

    /// The first match at or after `from` in valid UTF-8. False when there is none.
    /// Errors: user error when the expression needs more than PCRE2's limits.
    bool find(std::string_view text, size_t from, size_t& start, size_t& end);

   private:
    struct State;
    std::unique_ptr<State> state_;
  };

 private:
  struct Code;
  std::unique_ptr<Code> code_;
};

/// Oniguruma's pattern in PCRE2's terms: \s and \S become the property White_Space (PCRE2's own
/// adds U+180E). Throws std::invalid_argument for \h and \H, which mean different things to the
/// two.
std::string to_pcre2_pattern(std::string_view pattern);

}  // namespace ropesweep::llama
