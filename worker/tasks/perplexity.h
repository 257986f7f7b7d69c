// Perplexity over documents: sliding or truncated windows, several context lengths from one pass
// where the positions allow it.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>
#include <vector>

#include "experiments/grid.h"
#include "experiments/outcome.h"
#include "experiments/settings.h"
#include "worker/llama/model.h"
#include "worker/llama/tokenizer.h"
#include "worker/tasks/evaluation_progress.h"
#include "worker/tasks/task_runner.h"

namespace ropesweep::tasks {

/// Sums of one cell, window by window.
class PerplexityTotals {
 public:
  /// The scored losses of the next window (at least one); windows of a document come one after
  /// another.
  void add_window(int64_t document, std::span<const float> losses);
  /// The same by the sum of its `tokens` losses, as sum_of gives it.
  void add_window(int64_t document, double nll, int64_t tokens);
  static double sum_of(std::span<const float> losses);

  /// ppl_token first, then ppl_window. ppl_token's units are documents; windows when there is one
  /// document.
  std::vector<Measure> measures() const;

  int64_t tokens() const { return windows_.tokens; }

  /// The whole state, to the bit, and back. Errors: nlohmann's exception for another JSON.
  nlohmann::json saved() const;
  void restore(const nlohmann::json& saved);

 private:
  /// Sums over units (documents or windows) for a ratio Σy/Σt and its error.
  struct Moments {
    int64_t count = 0, tokens = 0;
    double sum_nll = 0, sum_yy = 0, sum_yt = 0, sum_tt = 0;
    void add(double nll, int64_t unit_tokens);
  };

  /// Calls `visit` with each field, in the order in which they are saved.
  template <typename Totals, typename Visit>
  static void each_field(Totals& totals, Visit visit);

  Moments with_open_document() const;

  int64_t open_document_ = -1;
  double open_nll_ = 0;
  int64_t open_tokens_ = 0;
  Moments documents_, windows_;
  double sum_of_means_ = 0, sum_of_squared_means_ = 0;
};

/// Measures `cells`, which differ in context length only, under the model's positions. Truncated
/// windows under static positions take one pass at the longest length: a causal model's losses of a
/// prefix are those of the prefix alone, to the bit. Otherwise each length is a pass of its own.
/// Windows that `progress` has are not run again. Errors: user error for bad settings or data, or
/// when no token is scored; Error(time) when stopped.
std::vector<CellOutcome> measure_perplexity(llama::Model& model, const llama::Tokenizer& tokenizer,
                                            const DatasetSettings& settings,
                                            std::span<const Cell> cells,
                                            EvaluationProgress& progress,
                                            const TaskContext& context);

}  // namespace ropesweep::tasks
