// Perplexity over documents: sliding or truncated windows, several context lengths from one pass
// where the positions allow it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "experiments/grid.h"
#include "experiments/outcome.h"
#include "experiments/settings.h"
#include "worker/llama/model.h"
#include "worker/llama/tokenizer.h"
#include "worker/tasks/evaluation_progress.h"
#include "worker/tasks/perplexity_totals.h"
#include "worker/tasks/sample_share.h"
#include "worker/tasks/task_runner.h"

namespace ropesweep::tasks {

/// Measures `cells`, which differ in context length only, under the model's positions. Truncated
/// windows under static positions take one pass at the longest length: a causal model's losses of a
/// prefix are those of the prefix alone, to the bit. Otherwise each length is a pass of its own.
/// Windows that `progress` has are not run again. In a group each rank takes its share of the
/// passes, rank 0 keeps the progress, and its result is the one that counts: the bits of one rank.
/// Errors: user error for bad settings or data, or when no token is scored; Error(time) when
/// stopped.
std::vector<CellOutcome> measure_perplexity(llama::Model& model, const llama::Tokenizer& tokenizer,
                                            const DatasetSettings& settings,
                                            std::span<const Cell> cells, const SampleShare& share,
                                            EvaluationProgress& progress,
                                            const TaskContext& context);

}  // namespace ropesweep::tasks
