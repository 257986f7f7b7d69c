// The post-processor of a tokenizer.json: special tokens around the ids of one text.
#pragma once

#include <cstdint>
#include <vector>

#include "worker/llama/json_place.h"

namespace ropesweep::llama {

class PostProcessor {
 public:
  /// null, ByteLevel (which moves offsets only), TemplateProcessing and Sequences of them.
  /// Errors: user error naming file and field for another type or a template without its tokens.
  explicit PostProcessor(const JsonPlace& post_processor);

  /// The ids with special tokens before and after.
  std::vector<int32_t> add_special_tokens(std::vector<int32_t> ids) const;

  /// Every id that it adds.
  std::vector<int32_t> ids() const;

 private:
  void read(const JsonPlace& place, int depth);
  void read_template(const JsonPlace& place);

  std::vector<int32_t> before_, after_;
};

}  // namespace ropesweep::llama
