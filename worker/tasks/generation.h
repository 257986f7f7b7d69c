// Greedy generation with a key-value cache.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "experiments/settings.h"
#include "worker/llama/model.h"
#include "worker/llama/tokenizer.h"
#include "worker/tasks/task_runner.h"

namespace ropesweep::tasks {

struct Generated {
  std::vector<int32_t> ids;  ///< without the token that ended it
  std::string text;          ///< decoded, special tokens left out
};

/// Whether the text so far says all that is wanted.
using Decided = std::function<bool(const std::string& text)>;

/// A prompt's greedy continuation, one pass of the model at a time: the likeliest token each time,
/// until an end-of-sequence id (the tokenizer's or the config's), `max_new_tokens`, or `decided`
/// (may be empty). Under static positions the prompt is fed in pieces, so that its activations
/// don't grow with it; dynamic ones need its length at once.
class Continuation {
 public:
  /// Errors: user error for an empty prompt or an id outside the vocabulary.
  Continuation(llama::Model& model, const llama::Tokenizer& tokenizer, std::vector<int32_t> prompt,
               int64_t max_new_tokens, Decided decided);

  bool ended() const { return ended_; }
  /// One pass: a piece of the prompt, or the last token.
  void advance();
  Generated generated() const;

 private:
  void accept(int32_t id);

  llama::Model& model_;
  const llama::Tokenizer& tokenizer_;
  std::vector<int32_t> prompt_;
  int64_t max_new_tokens_;
  Decided decided_;
  llama::KvCache cache_;
  size_t fed_ = 0;  ///< tokens of the prompt
  std::vector<int32_t> ids_;
  bool ended_;
};

/// All of a continuation. Errors: as Continuation's; Error(time) when stopped.
Generated generate(llama::Model& model, const llama::Tokenizer& tokenizer,
                   std::span<const int32_t> prompt, int64_t max_new_tokens, const Decided& decided,
                   const TaskContext& context);

/// The ids of a sample's prompt: through the chat template if the settings ask for it, else as the
/// post-processor has it; `bos` yes | no overrides that.
std::vector<int32_t> encode_prompt(const llama::Tokenizer& tokenizer,
                                   const DatasetSettings& settings, const std::string& prompt);

}  // namespace ropesweep::tasks
