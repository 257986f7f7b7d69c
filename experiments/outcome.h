// What a task brings back: sums and counts, never ratios, so that figures are formed in one place
// and can be merged; curves; or a failure with its kind.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "experiments/error.h"

namespace ropesweep {

/// Sums from which one row's value and standard error follow (`metric_value`,
/// `metric_standard_error`).
struct Measure {
  /// ppl_token = exp(Σ nll / tokens) · ppl_window = exp(mean of window means) ·
  /// loss@FROM-TO = Σ nll / tokens over these positions of a window ·
  /// accuracy, accuracy_word_boundary, accuracy_normalised, accuracy_mc1, accuracy@LOCATION = hits
  /// / count · mc2 = Σ masses / count.
  std::string metric;
  int64_t count = 0;   ///< documents (ppl_token, loss@), windows (ppl_window), samples (the others)
  double sum_nll = 0;  ///< natural logarithms (ppl_window: the sum of window means; mc2: of masses)
  int64_t tokens = 0;  ///< predicted tokens
  int64_t hits = 0;
  // Second moments over the `count` units, for the standard error of the ratio Σy/Σt.
  double sum_yy = 0;  ///< Σ nll_u²
  double sum_yt = 0;  ///< Σ nll_u · tokens_u
  double sum_tt = 0;  ///< Σ tokens_u²
};

double metric_value(const Measure& measure);
/// Accuracies: half the 68.27 % Wilson interval. Losses: the ratio estimator's error by unit, for
/// perplexities carried through exp; NaN with fewer than two units.
double metric_standard_error(const Measure& measure);

/// At most so many samples of a cell have a record (the first ones, which are the same for every
/// scheme), unless the data set asks for its samples' texts: then all have.
inline constexpr size_t kMostSampleRecords = 4096;

/// What one sample or one document gave, so that schemes can be compared over the same samples. Of
/// a perplexity: the sums of a document, or of a window where there is one document only.
struct SampleRecord {
  int64_t index = 0;      ///< the record's number in the data; of a lone document's windows: theirs
  std::string text;       ///< what the model generated, when the data set asks for it
  std::string reference;  ///< likewise
  bool hit = false;       ///< of the cell's first accuracy (mc1 is one)
  std::string location;   ///< where the answer stands, e.g. "start", "0.35"
  bool second_hit = false;  ///< of its second accuracy: by word boundary, length-normalised
  int64_t tokens = 0;       ///< generated, or predicted ones whose losses `nll` sums
  double nll = 0;           ///< natural logarithms
  int64_t windows = 0;      ///< of the document
  double window_nll = 0;    ///< Σ of its windows' mean losses
  double share = 0;         ///< in place of a hit: mc2's mass of the true answers
};

struct CellOutcome {
  std::string cell;               ///< id
  std::vector<Measure> measures;  ///< the first is the main one
  std::vector<SampleRecord> samples;
  double seconds = 0;  ///< this cell's share of the task's time
};

/// Loss curves of a fine-tune; NaN where a step has no validation loss.
struct Curve {
  std::vector<int64_t> step;
  std::vector<double> training_loss, validation_loss, learning_rate, gradient_norm;
};

struct FineTuneOutcome {
  std::string fine_tune;  ///< id
  int64_t steps = 0;
  int64_t tokens = 0;
  double training_loss = 0;    ///< mean of the last step
  double validation_loss = 0;  ///< last measured; NaN when never
  Curve curve;
  std::string checkpoint;  ///< directory of the weights, relative to the store's directory
  std::string digests;     ///< of its files (file_digests.h); empty: written before they were kept
};

struct Outcome {
  FailureKind failure_kind =
      FailureKind::none;                    ///< none: finished; diverged: a result with its curve
  std::string failure;                      ///< one line: what and where
  std::vector<CellOutcome> cells;           ///< an evaluation task
  std::vector<FineTuneOutcome> fine_tunes;  ///< a fine-tune task: exactly one
  double seconds = 0;
  std::string device;  ///< e.g. "cpu (AMD EPYC, 1 thread)"
  std::string type;    ///< f32 | bf16
};

void to_json(nlohmann::json& json, const Measure& measure);
void from_json(const nlohmann::json& json, Measure& measure);
void to_json(nlohmann::json& json, const SampleRecord& record);
void from_json(const nlohmann::json& json, SampleRecord& record);
void to_json(nlohmann::json& json, const CellOutcome& outcome);
void from_json(const nlohmann::json& json, CellOutcome& outcome);
void to_json(nlohmann::json& json, const Curve& curve);
void from_json(const nlohmann::json& json, Curve& curve);
void to_json(nlohmann::json& json, const FineTuneOutcome& outcome);
void from_json(const nlohmann::json& json, FineTuneOutcome& outcome);
void to_json(nlohmann::json& json, const Outcome& outcome);
void from_json(const nlohmann::json& json, Outcome& outcome);

}  // namespace ropesweep
