// The pre-tokenizer of a tokenizer.json: cuts text into the words that BPE sees one at a time.
#pragma once

#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "worker/llama/json_place.h"
#include "worker/llama/regex.h"

namespace ropesweep::llama {

/// What happens to the pieces between and at matches (`SplitDelimiterBehavior` of the library).
enum class SplitBehavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };

class PreTokenizer {
 public:
  /// ByteLevel, Split, Digits and Sequences of them that end in ByteLevel.
  /// Errors: user error naming file and field for another type, behaviour, or a faulty expression.
  explicit PreTokenizer(const JsonPlace& pre_tokenizer);

  /// Calls `take` with each word of `text` (valid UTF-8), in order; a word lives during the call.
  void split(std::string_view text, const std::function<void(std::string_view)>& take) const;

 private:
  struct Step {
    Regex regex;
    SplitBehavior behavior = SplitBehavior::isolated;
    bool invert = false;
    bool prefix_space = false;  ///< a space goes before a piece that doesn't begin with one
  };
  class Run;

  void read(const JsonPlace& place, int depth);
  void read_split(const JsonPlace& place);
  void read_byte_level(const JsonPlace& place);

  std::vector<Step> steps_;
  bool byte_level_ = false;  ///< read already: nothing may follow
};

}  // namespace ropesweep::llama
