// Figures from sums, and the JSON of outcomes.
//
// Letters: n units (documents, windows, samples) · y_u the loss of unit u · t_u its tokens
#include "experiments/outcome.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "experiments/json_fields.h"

namespace ropesweep {
namespace {

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();

bool is_perplexity(const Measure& measure) { return measure.metric.starts_with("ppl_"); }
bool is_loss(const Measure& measure) { return measure.metric.starts_with("loss@"); }

/// A mean of shares, one a sample: no hits are counted.
bool is_mean_of_shares(const Measure& measure) { return measure.metric == "mc2"; }

/// Whether all units count alike, whatever tokens they have.
bool by_unit(const Measure& measure) {
  return measure.metric == "ppl_window" || is_mean_of_shares(measure);
}

/// What the sums are divided by: tokens (ppl_token) or units (ppl_window, mc2).
double divisor(const Measure& measure) {
  return static_cast<double>(by_unit(measure) ? measure.count : measure.tokens);
}

/// Half the 68.27 % (z = 1) Wilson score interval of a share k / n (Wilson 1927):
/// z / (1 + z²/n) · √(p(1−p)/n + z²/(4n²)).
double wilson_half_width(double hits, double samples) {
  const double share = hits / samples;
  const double variance = share * (1 - share) / samples + 1 / (4 * samples * samples);
  return std::sqrt(variance) / (1 + 1 / samples);
}

/// Standard error of the mean loss R = Σy / Σt over n units (Cochran, Sampling Techniques,
/// eq. 6.13): √( n/(n−1) · Σ(y_u − R·t_u)² ) / Σt. With t_u = 1 it is the error of a plain mean.
double mean_loss_error(const Measure& measure) {
  const double units = static_cast<double>(measure.count);
  const double total = divisor(measure);
  const double mean = measure.sum_nll / total;
  const double sum_yt = by_unit(measure) ? measure.sum_nll : measure.sum_yt;
  const double sum_tt = by_unit(measure) ? units : measure.sum_tt;
  const double squares = measure.sum_yy - 2 * mean * sum_yt + mean * mean * sum_tt;
  // Rounding may leave a tiny negative sum when all units have the same mean.
  return std::sqrt(units / (units - 1) * std::max(squares, 0.0)) / total;
}

}  // namespace

double metric_value(const Measure& measure) {
  if (is_perplexity(measure) || is_loss(measure)) {
    const double total = divisor(measure);
    if (total <= 0) return not_a_number;
    const double mean = measure.sum_nll / total;
    return is_loss(measure) ? mean : std::exp(mean);
  }
  if (measure.count == 0) return not_a_number;
  if (is_mean_of_shares(measure)) return measure.sum_nll / divisor(measure);
  return static_cast<double>(measure.hits) / static_cast<double>(measure.count);
}

double metric_standard_error(const Measure& measure) {
  if (is_perplexity(measure) || is_loss(measure)) {
    if (measure.count < 2 || divisor(measure) <= 0) return not_a_number;
    return mean_loss_error(measure) * (is_loss(measure) ? 1 : metric_value(measure));
  }
  if (is_mean_of_shares(measure))
    return measure.count < 2 ? not_a_number : mean_loss_error(measure);
  if (measure.count == 0) return not_a_number;
  return wilson_half_width(static_cast<double>(measure.hits), static_cast<double>(measure.count));
}

namespace {

template <typename Struct, typename Visitor>
void measure_fields(Struct& measure, const Visitor& field) {
  field("metric", measure.metric);
  field("count", measure.count);
  field("sum_nll", measure.sum_nll);
  field("tokens", measure.tokens);
  field("hits", measure.hits);
  field("sum_yy", measure.sum_yy);
  field("sum_yt", measure.sum_yt);
  field("sum_tt", measure.sum_tt);
}

template <typename Struct, typename Visitor>
void sample_fields(Struct& record, const Visitor& field) {
  field("index", record.index);
  field("text", record.text);
  field("reference", record.reference);
  field("hit", record.hit);
  field("location", record.location);
  field("second_hit", record.second_hit);
  field("tokens", record.tokens);
  field("nll", record.nll);
  field("windows", record.windows);
  field("window_nll", record.window_nll);
  field("share", record.share);
}

/// There are many records: what says nothing is left out.
void drop_defaults(nlohmann::json& json) {
  static const nlohmann::json defaults = [] {
    nlohmann::json all;
    const SampleRecord none;
    sample_fields(none, JsonWriter(all));
    return all;
  }();
  for (const auto& [name, value] : defaults.items()) {
    if (name != "index" && json.at(name) == value) json.erase(name);
  }
}

template <typename Struct, typename Visitor>
void cell_outcome_fields(Struct& outcome, const Visitor& field) {
  field("cell", outcome.cell);
  field("measures", outcome.measures);
  field("samples", outcome.samples);
  field("seconds", outcome.seconds);
}

template <typename Struct, typename Visitor>
void curve_fields(Struct& curve, const Visitor& field) {
  field("step", curve.step);
  field("training_loss", curve.training_loss);
  field("validation_loss", curve.validation_loss);
  field("learning_rate", curve.learning_rate);
  field("gradient_norm", curve.gradient_norm);
}

template <typename Struct, typename Visitor>
void fine_tune_outcome_fields(Struct& outcome, const Visitor& field) {
  field("fine_tune", outcome.fine_tune);
  field("steps", outcome.steps);
  field("tokens", outcome.tokens);
  field("training_loss", outcome.training_loss);
  field("validation_loss", outcome.validation_loss);
  field("curve", outcome.curve);
  field("checkpoint", outcome.checkpoint);
  field("digests", outcome.digests);
}

template <typename Struct, typename Visitor>
void outcome_fields(Struct& outcome, const Visitor& field) {
  field("failure", outcome.failure);
  field("cells", outcome.cells);
  field("fine_tunes", outcome.fine_tunes);
  field("seconds", outcome.seconds);
  field("device", outcome.device);
  field("type", outcome.type);
}

}  // namespace

void to_json(nlohmann::json& json, const Measure& measure) {
  measure_fields(measure, JsonWriter(json));
}
void from_json(const nlohmann::json& json, Measure& measure) {
  measure_fields(measure, JsonReader(json));
}

void to_json(nlohmann::json& json, const SampleRecord& record) {
  sample_fields(record, JsonWriter(json));
  drop_defaults(json);
}
void from_json(const nlohmann::json& json, SampleRecord& record) {
  sample_fields(record, JsonReader(json));
}

void to_json(nlohmann::json& json, const CellOutcome& outcome) {
  cell_outcome_fields(outcome, JsonWriter(json));
}
void from_json(const nlohmann::json& json, CellOutcome& outcome) {
  cell_outcome_fields(outcome, JsonReader(json));
}

void to_json(nlohmann::json& json, const Curve& curve) { curve_fields(curve, JsonWriter(json)); }
void from_json(const nlohmann::json& json, Curve& curve) { curve_fields(curve, JsonReader(json)); }

void to_json(nlohmann::json& json, const FineTuneOutcome& outcome) {
  fine_tune_outcome_fields(outcome, JsonWriter(json));
}
void from_json(const nlohmann::json& json, FineTuneOutcome& outcome) {
  fine_tune_outcome_fields(outcome, JsonReader(json));
}

void to_json(nlohmann::json& json, const Outcome& outcome) {
  outcome_fields(outcome, JsonWriter(json));
  json["failure_kind"] = to_string(outcome.failure_kind);
}
void from_json(const nlohmann::json& json, Outcome& outcome) {
  outcome_fields(outcome, JsonReader(json));
  if (json.contains("failure_kind")) {
    outcome.failure_kind = failure_kind_from(json.at("failure_kind").get<std::string>());
  }
}

}  // namespace ropesweep
