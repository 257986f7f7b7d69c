// The likelihoods of a question's options, one pass of the model at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "worker/llama/model.h"
#include "worker/tasks/choice_prompt.h"

namespace ropesweep::tasks {

/// The cache of the prompts that follow each other: what one begins with as the one before it is
/// kept, not computed again.
struct PromptCache {
  std::unique_ptr<llama::KvCache> cache;  ///< null before the first prompt
  std::vector<int32_t> ids;               ///< of the tokens that it holds
};

/// Σ log p of each option. Under static positions the prompt goes through the model once, and in
/// its last pass all options beside each other (Model::branch_losses). Positions that depend on the
/// length, very short prompts, and those that the context length cuts, take a pass an option over
/// its whole sequence. The bits are the same.
class OptionPasses {
 public:
  /// `context_length`: at most so many tokens are fed; of longer sequences the last ones, as the
  /// harness cuts. Errors: user error for an option that is longer alone, or an id outside the
  /// vocabulary. `prompts` must outlive this.
  OptionPasses(llama::Model& model, ChoiceIds ids, int64_t context_length, PromptCache& prompts);

  bool ended() const { return log_likelihoods_.size() == ids_.options.size(); }
  /// One pass: a piece of a long prompt, the end of it with the options, or a whole sequence.
  void advance();
  const std::vector<double>& log_likelihoods() const { return log_likelihoods_; }
  bool is_cut() const { return cut_; }
  /// Tokens that are scored.
  int64_t tokens() const;

 private:
  void begin_prompt();
  void score_whole();
  void score_branches();

  llama::Model& model_;
  ChoiceIds ids_;
  int64_t context_length_;
  PromptCache& prompts_;
  size_t longest_ = 0;  ///< tokens of an option
  bool cut_ = false, branched_ = false, begun_ = false;
  std::vector<double> log_likelihoods_;
};

}  // namespace ropesweep::tasks
