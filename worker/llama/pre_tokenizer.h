// The pre-tokenizer of a tokenizer.json: cuts text into the words that BPE sees one at a time.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "worker/llama/json_place.h"
#include "worker/llama/regex.h"

namespace ropesweep::llama {

/// What happens to the pieces between and at matches (`SplitDelimiterBehavior` of the library).
enum class SplitBehavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };

class PreTokenizer {
  class Run;

 public:
  /// null, ByteLevel, Metaspace, Split, Digits and Sequences of them; ByteLevel is the last.
  /// Errors: user error naming file and field for another type, behaviour, or a faulty expression.
  explicit PreTokenizer(const JsonPlace& pre_tokenizer);

  /// Whether words are bytes to the model, as ByteLevel says.
  bool is_byte_level() const { return byte_level_; }

  /// Cuts text after text; one a thread, as it keeps the searches' state. The pre-tokenizer must
  /// outlive it.
  class Cutter {
   public:
    explicit Cutter(const PreTokenizer& pre_tokenizer);
    ~Cutter();

    /// Calls `take` with each word of `text` (valid UTF-8), in order; a word lives during the call.
    /// `at_start`: nothing goes before `text`, special tokens included.
    void split(std::string_view text, bool at_start,
               const std::function<void(std::string_view)>& take);

   private:
    std::unique_ptr<Run> run_;
  };

 private:
  enum class Prefix { never, first, always };
  struct Step {
    Regex regex;
    SplitBehavior behavior = SplitBehavior::isolated;
    bool invert = false;
    std::string space = " ";        ///< what becomes of spaces
    Prefix prefix = Prefix::never;  ///< whether `space` goes before a piece that doesn't begin so
  };

  void read(const JsonPlace& place, int depth);
  void read_split(const JsonPlace& place);
  void read_byte_level(const JsonPlace& place);
  void read_metaspace(const JsonPlace& place);

  std::vector<Step> steps_;
  bool byte_level_ = false;  ///< read already: nothing may follow
};

}  // namespace ropesweep::llama
