// Prompt → cache → greedy tokens → score, sample by sample.
#include "worker/tasks/generation.h"

#include <algorithm>
#include <chrono>
#include <map>

#include "worker/tasks/chat_template.h"
#include "worker/tasks/interruption.h"
#include "worker/tasks/scoring.h"

namespace ropesweep::tasks {

namespace {

/// Tokens of a prompt fed at once under static positions, so that a stop is heard between them.
constexpr int64_t kPrefillTokens = 2048;

/// Feeds the prompt; the likeliest next id.
int32_t prefill(llama::Model& model, llama::KvCache& cache, std::span<const int32_t> prompt,
                const TaskContext& context) {
  const size_t piece =
      model.positions().depends_on_length() ? prompt.size() : static_cast<size_t>(kPrefillTokens);
  int32_t next = 0;
  for (size_t at = 0; at < prompt.size(); at += piece) {
    throw_if_stopped(context);
    next = model.extend_greedily(cache, prompt.subspan(at, std::min(piece, prompt.size() - at)));
  }
  return next;
}

void check_prompt(std::span<const int32_t> prompt, int64_t vocabulary) {
  if (prompt.empty()) throw_user_error("the prompt is empty: there is nothing to continue");
  for (const int32_t id : prompt) {
    if (id < 0 || id >= vocabulary) {
      throw_user_error(
          "prompt: id {} is outside the model's vocabulary of {}; do tokenizer and "
          "weights belong together?",
          id, vocabulary);
    }
  }
}

CellOutcome measure_cell(llama::Model& model, const llama::Tokenizer& tokenizer,
                         const DatasetSettings& settings, const Cell& cell, double fraction_before,
                         double fraction_share, EvaluationProgress& progress,
                         const TaskContext& context) {
  const auto start = std::chrono::steady_clock::now();
  const auto samples = data::load_samples(settings, tokenizer, cell.context_length);
  const int64_t max_new_tokens = settings.max_new_tokens > 0
                                     ? settings.max_new_tokens
                                     : data::default_new_tokens(settings.kind);
  AccuracyTotals totals(settings);
  CellOutcome outcome;
  outcome.cell = cell.id;
  for (size_t i = 0; i < samples.size(); ++i) {
    throw_if_stopped(context);
    const data::Sample& sample = samples[i];
    const std::string key = fmt::format("{}/{}", cell.id, i);
    Generated generated;
    if (const nlohmann::json* record = progress.find(key)) {
      generated.ids = record->get<std::vector<int32_t>>();
      generated.text = tokenizer.decode(generated.ids);
    } else {
      report_progress(context,
                      fraction_before + fraction_share * static_cast<double>(i) /
                                            static_cast<double>(samples.size()),
                      fmt::format("{} at {}, sample {} of {}", settings.kind, cell.context_length,
                                  i + 1, samples.size()));
      generated = generate(
          model, tokenizer, encode_prompt(tokenizer, settings, sample.prompt), max_new_tokens,
          [&](const std::string& text) { return is_decided(settings, text, sample.reference); },
          context);
      progress.keep(key, generated.ids);
    }
    const bool hit = totals.add(sample, generated.text, static_cast<int64_t>(generated.ids.size()));
    if (settings.keep_samples) {
      outcome.samples.push_back(
          {sample.index, generated.text, sample.reference, hit, sample.location});
    }
  }
  outcome.measures = totals.measures();
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  outcome.seconds = elapsed.count();
  return outcome;
}

}  // namespace

Generated generate(llama::Model& model, const llama::Tokenizer& tokenizer,
                   std::span<const int32_t> prompt, int64_t max_new_tokens,
                   const std::function<bool(const std::string& text)>& decided,
                   const TaskContext& context) {
  check_prompt(prompt, model.config().vocabulary);
  llama::KvCache cache(model.backend(), model.config(), model.weights().embedding.dtype(),
                       static_cast<int64_t>(prompt.size()) + max_new_tokens);
  Generated generated;
  if (max_new_tokens <= 0) return generated;
  int32_t id = prefill(model, cache, prompt, context);
  while (true) {
    if (id == tokenizer.eos_id() || id == model.config().eos_id) break;
    generated.ids.push_back(id);
    if (decided && decided(tokenizer.decode(generated.ids))) break;
    if (static_cast<int64_t>(generated.ids.size()) >= max_new_tokens) break;
    throw_if_stopped(context);
    id = model.extend_greedily(cache, std::span(&id, 1));
  }
  generated.text = tokenizer.decode(generated.ids);
  return generated;
}

std::vector<int32_t> encode_prompt(const llama::Tokenizer& tokenizer,
                                   const DatasetSettings& settings, const std::string& prompt) {
  if (settings.instruction_template) {
    return tokenizer.encode(apply_chat_template(tokenizer.chat_template(), prompt), false);
  }
  if (settings.bos == "auto") return tokenizer.encode(prompt);
  std::vector<int32_t> ids = tokenizer.encode(prompt, false);
  if (settings.bos == "yes") {
    if (tokenizer.bos_id() < 0) {
      throw_user_error(
          "bos = yes, but tokenizer_config.json names no bos_token; choose auto or no");
    }
    ids.insert(ids.begin(), tokenizer.bos_id());
  }
  return ids;
}

bool AccuracyTotals::add(const data::Sample& sample, const std::string& text, int64_t tokens) {
  const Score score = score_text(settings_, text, sample.reference);
  const auto count = [&](Measure& measure, bool hit) {
    ++measure.count;
    measure.hits += hit ? 1 : 0;
    measure.tokens += tokens;
  };
  count(accuracy_, score.hit);
  count(word_boundary_, score.word_boundary);
  if (!sample.location.empty()) count(by_location_[location_bin(sample.location)], score.hit);
  if (!sample.question_location.empty()) {
    count(by_location_["question-" + sample.question_location], score.hit);
  }
  return score.hit;
}

std::vector<Measure> AccuracyTotals::measures() const {
  std::vector<Measure> measures = {accuracy_};
  measures.back().metric = "accuracy";
  if (settings_.kind == "wikiqa") {
    measures.push_back(word_boundary_);
    measures.back().metric = "accuracy_word_boundary";
  }
  for (const auto& [location, measure] : by_location_) {
    measures.push_back(measure);
    measures.back().metric = "accuracy@" + location;
  }
  return measures;
}

std::vector<CellOutcome> measure_retrieval(llama::Model& model, const llama::Tokenizer& tokenizer,
                                           const DatasetSettings& settings,
                                           std::span<const Cell> cells,
                                           EvaluationProgress& progress,
                                           const TaskContext& context) {
  if (settings.which != "first" && settings.which != "last") {
    throw_user_error("data set '{}': which '{}' is unknown; choose first or last", settings.name,
                     settings.which);
  }
  std::vector<CellOutcome> outcomes;
  const double share = 1.0 / static_cast<double>(cells.size());
  for (size_t i = 0; i < cells.size(); ++i) {
    outcomes.push_back(measure_cell(model, tokenizer, settings, cells[i],
                                    share * static_cast<double>(i), share, progress, context));
  }
  return outcomes;
}

}  // namespace ropesweep::tasks
