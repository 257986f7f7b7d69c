// The decoder of a tokenizer.json: the texts of tokens to the text that they stand for.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "worker/llama/json_place.h"

namespace ropesweep::llama {

class Decoder {
 public:
  /// null, ByteLevel, Replace, ByteFallback, Fuse, Strip, Metaspace and Sequences of them.
  /// Errors: user error naming file and field for another type.
  explicit Decoder(const JsonPlace& decoder);

  /// ByteLevel and nothing else: the bytes of the tokens, one after the other, are the text.
  bool is_byte_level() const { return byte_level_; }

  /// The text, valid UTF-8: what isn't becomes U+FFFD.
  std::string decode(std::vector<std::string> tokens) const;

 private:
  using Step = std::function<void(std::vector<std::string>& tokens)>;
  void read(const JsonPlace& place, int depth);

  std::vector<Step> steps_;
  bool byte_level_ = false;
  bool spaced_ = false;  ///< no decoder: tokens with a space between
};

}  // namespace ropesweep::llama
