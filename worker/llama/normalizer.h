// The normalizer of a tokenizer.json.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "worker/llama/json_place.h"

namespace ropesweep::llama {

class Normalizer {
 public:
  /// null, NFC, Prepend, Replace and Sequences of them. Errors: user error naming file and field
  /// for another type, a faulty expression, or NFC in a build without libutf8proc.
  explicit Normalizer(const JsonPlace& normalizer);

  bool changes_nothing() const { return steps_.empty(); }
  std::string normalize(std::string_view text) const;

 private:
  void read(const JsonPlace& place, int depth);

  std::vector<std::function<std::string(std::string_view)>> steps_;
};

}  // namespace ropesweep::llama
