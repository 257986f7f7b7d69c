// Greedy generation with a key-value cache, and the tasks that score what it says: lines, passkey,
// questions.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "experiments/grid.h"
#include "experiments/outcome.h"
#include "experiments/settings.h"
#include "worker/data/corpus.h"
#include "worker/llama/model.h"
#include "worker/llama/tokenizer.h"
#include "worker/tasks/evaluation_progress.h"
#include "worker/tasks/task_runner.h"

namespace ropesweep::tasks {

struct Generated {
  std::vector<int32_t> ids;  ///< without the token that ended it
  std::string text;          ///< decoded, special tokens left out
};

/// Continues `prompt` (at least one id) with the likeliest token each time, until an
/// end-of-sequence id (the tokenizer's or the config's), `max_new_tokens`, or `decided(text so
/// far)` (may be empty). Under static positions the prompt is fed in pieces, so that its
/// activations don't grow with it; dynamic ones need its length at once. Errors: Error(time) when
/// stopped; user error for an empty prompt or an id outside the vocabulary.
Generated generate(llama::Model& model, const llama::Tokenizer& tokenizer,
                   std::span<const int32_t> prompt, int64_t max_new_tokens,
                   const std::function<bool(const std::string& text)>& decided,
                   const TaskContext& context);

/// The ids of a sample's prompt: through the chat template if the settings ask for it, else as the
/// post-processor has it; `bos` yes | no overrides that.
std::vector<int32_t> encode_prompt(const llama::Tokenizer& tokenizer,
                                   const DatasetSettings& settings, const std::string& prompt);

/// Sums of accuracy: overall, by word boundary (wikiqa), by location of the answer and of the
/// question.
class AccuracyTotals {
 public:
  explicit AccuracyTotals(const DatasetSettings& settings) : settings_(settings) {}
  /// Scores the sample and returns whether it is a hit. `tokens`: how many were generated.
  bool add(const data::Sample& sample, const std::string& text, int64_t tokens);
  /// accuracy first, then accuracy_word_boundary (wikiqa), then accuracy@LOCATION by name.
  std::vector<Measure> measures() const;

 private:
  DatasetSettings settings_;
  Measure accuracy_, word_boundary_;
  std::map<std::string, Measure> by_location_;
};

/// Measures `cells`, which differ in context length only: each has its own samples. Those that
/// `progress` has are only scored. Errors: user error for bad settings or data; Error(time) when
/// stopped.
std::vector<CellOutcome> measure_retrieval(llama::Model& model, const llama::Tokenizer& tokenizer,
                                           const DatasetSettings& settings,
                                           std::span<const Cell> cells,
                                           EvaluationProgress& progress,
                                           const TaskContext& context);

}  // namespace ropesweep::tasks
