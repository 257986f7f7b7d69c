// The normalizer of a tokenizer.json, as far as byte-level tokenizers have one.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "worker/llama/json_place.h"

namespace ropesweep::llama {

class Normalizer {
 public:
  /// null, Replace of a literal String, Prepend, and Sequences of them.
  /// Errors: user error naming file and field for another type (NFC and such need Unicode's
  /// tables).
  explicit Normalizer(const JsonPlace& normalizer);

  bool changes_nothing() const { return steps_.empty(); }
  std::string normalize(std::string_view text) const;

 private:
  /// Every `from` becomes `to`; an empty `from` puts `to` before the text.
  struct Step {
    std::string from, to;
  };
  void read(const JsonPlace& place, int depth);

  std::vector<Step> steps_;
};

}  // namespace ropesweep::llama
