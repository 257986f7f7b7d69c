// Documents → windows → batches of equal windows → token losses → sums by cell.
// Letters: N positions of a window · P positions fed (BOS and tokens)
#include "worker/tasks/perplexity.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <functional>

#include "worker/data/corpus.h"
#include "worker/tasks/interruption.h"
#include "worker/tasks/windows.h"

namespace ropesweep::tasks {

namespace {

/// Short windows share a pass of up to this many positions; rows don't depend on their neighbours.
constexpr int64_t kPositionsPerPass = 4096;

/// Passes of fewer positions are padded: a handful of rows goes through the kernels of decoding,
/// whose last bits differ, and a short window's losses must be those of a long one's beginning.
constexpr int64_t kLeastPositions = 16;

/// One cell of a pass: its own windows, read out of the pass's losses.
struct CellState {
  const Cell* cell = nullptr;
  WindowRule rule;
  PerplexityTotals totals;
};

/// A document's ids, shared by the windows that wait for their pass.
struct TokenizedDocument {
  int64_t index = 0;
  std::vector<int32_t> ids;
};

/// Collects windows of equal length and runs them together; results come back in order.
class WindowBatcher {
 public:
  /// Takes a window's document, the window, and the losses of its tokens [window.tokens]; a token
  /// that was not asked for has loss 0.
  using Sink =
      std::function<void(const TokenizedDocument&, const Window&, std::span<const float> losses)>;
  /// Called after the windows of a pass, with their count.
  using PassEnd = std::function<void(int64_t windows)>;

  WindowBatcher(llama::Model& model, int32_t bos, Sink sink, PassEnd pass_end)
      : model_(model),
        bos_(bos),
        least_(model.positions().depends_on_length() ? 0 : kLeastPositions),
        sink_(std::move(sink)),
        pass_end_(std::move(pass_end)) {}

  /// `score_from`: the first token whose loss is wanted.
  void add(std::shared_ptr<const TokenizedDocument> document, const Window& window) {
    const int64_t positions = std::max(window.tokens + (bos_ >= 0 ? 1 : 0), least_);
    if (!waiting_.empty() && (positions != positions_ || full())) flush();
    positions_ = positions;
    append_ids(*document, window);
    waiting_.push_back({std::move(document), window});
  }

  void flush() {
    if (waiting_.empty()) return;
    const auto batch = static_cast<int64_t>(waiting_.size());
    const std::vector<float> losses = model_.token_losses(ids_, targets_, batch);
    for (size_t i = 0; i < waiting_.size(); ++i) {
      const auto& [document, window] = waiting_[i];
      // Position p predicts the token at p + 1: with BOS the first token's loss is at 0, without it
      // has none.
      const float* row = losses.data() + i * static_cast<size_t>(positions_);
      token_losses_.assign(static_cast<size_t>(window.tokens), 0.0f);
      const auto shift = static_cast<size_t>(bos_ >= 0 ? 0 : 1);
      std::copy(row, row + static_cast<size_t>(window.tokens) - shift,
                token_losses_.begin() + static_cast<std::ptrdiff_t>(shift));
      sink_(*document, window, token_losses_);
    }
    pass_end_(batch);
    waiting_.clear();
    ids_.clear();
    targets_.clear();
  }

 private:
  struct Waiting {
    std::shared_ptr<const TokenizedDocument> document;
    Window window;
  };

  bool full() const {
    return static_cast<int64_t>(waiting_.size() + 1) * positions_ > kPositionsPerPass;
  }

  void append_ids(const TokenizedDocument& document, const Window& window) {
    const auto token = [&](int64_t i) { return document.ids[static_cast<size_t>(i)]; };
    const auto target = [&](int64_t i) { return i >= window.score_from ? token(i) : -1; };
    if (bos_ >= 0) {
      ids_.push_back(bos_);
      targets_.push_back(target(window.first));
    }
    for (int64_t i = window.first; i < window.end(); ++i) {
      ids_.push_back(token(i));
      targets_.push_back(i + 1 < window.end() ? target(i + 1) : -1);
    }
    const size_t padded = (waiting_.size() + 1) * static_cast<size_t>(positions_);
    ids_.resize(padded, 0);
    targets_.resize(padded, -1);
  }

  llama::Model& model_;
  int32_t bos_;
  int64_t
      least_;  ///< positions fed at least; static positions only: dynamic ones depend on the number
  Sink sink_;
  PassEnd pass_end_;
  int64_t positions_ = 0;
  std::vector<Waiting> waiting_;
  std::vector<int32_t> ids_, targets_;
  std::vector<float> token_losses_;
};

/// The windows that a pass runs: those of the longest cell, scored from where any cell scores.
std::vector<Window> windows_of_pass(int64_t document_tokens, const std::vector<CellState>& cells) {
  const auto longest =
      std::max_element(cells.begin(), cells.end(), [](const CellState& a, const CellState& b) {
        return a.rule.context_length < b.rule.context_length;
      });
  std::vector<Window> windows = plan_windows(document_tokens, longest->rule);
  if (cells.size() > 1 && !windows.empty()) {  // truncated: one window
    for (const CellState& state : cells) {
      for (const Window& window : plan_windows(document_tokens, state.rule)) {
        windows[0].score_from = std::min(windows[0].score_from, window.score_from);
      }
    }
  }
  return windows;
}

void add_to_cells(std::vector<CellState>& cells, const TokenizedDocument& document,
                  const Window& pass_window, std::span<const float> losses,
                  const TaskContext& context) {
  for (CellState& state : cells) {
    Window window = pass_window;
    if (cells.size() > 1) {
      const auto own = plan_windows(static_cast<int64_t>(document.ids.size()), state.rule);
      if (own.empty()) continue;
      window = own[0];
    }
    const auto scored = losses.subspan(static_cast<size_t>(window.score_from - pass_window.first),
                                       static_cast<size_t>(window.scored()));
    state.totals.add_window(document.index, scored);
    if (!context.token_loss) continue;
    for (int64_t i = window.score_from; i < window.end(); ++i) {
      context.token_loss({document.index, i, document.ids[static_cast<size_t>(i)],
                          losses[static_cast<size_t>(i - pass_window.first)]});
    }
  }
}

/// Fraction done of a stream whose number of documents may be unknown.
double fraction_of(int64_t documents, int64_t expected, double of_document) {
  const double done = static_cast<double>(documents) + of_document;
  return expected > 0 ? done / static_cast<double>(expected) : done / (done + 1);
}

/// Tokens that a built document must hold: a truncated window whole, or several sliding ones. A
/// longer document begins with the shorter one's text; the few tokens more keep the shorter one's
/// end, where ids may differ, out of its window, so that a fused pass reads what a separate one
/// does.
int64_t built_tokens(const WindowRule& rule, const DatasetSettings& settings) {
  constexpr int64_t seam = 32;
  const int64_t windows = rule.sliding ? 2 : 1;
  return std::max(windows * rule.context_length, settings.minimum_length) + seam;
}

struct PassSettings {
  const llama::Tokenizer& tokenizer;
  const DatasetSettings& settings;
  double fraction_before, fraction_share;  ///< of the whole task
};

/// How far a pass has come: windows whose losses are in the cells' totals, from the first one on.
class PassProgress {
 public:
  PassProgress(EvaluationProgress& progress, std::vector<CellState>& cells)
      : progress_(progress), cells_(cells) {
    for (const CellState& state : cells) key_ += (key_.empty() ? "" : " ") + state.cell->id;
    if (const nlohmann::json* record = progress.find(key_)) {
      windows_ = record->at("windows");
      for (size_t i = 0; i < cells.size(); ++i) {
        cells[i].totals.restore(record->at("totals").at(i));
      }
    }
  }

  int64_t windows() const { return windows_; }

  /// `count` more windows are in the totals.
  void keep(int64_t count) {
    windows_ += count;
    nlohmann::json record = {{"windows", windows_}, {"totals", nlohmann::json::array()}};
    for (const CellState& state : cells_) record["totals"].push_back(state.totals.saved());
    progress_.keep(key_, record);
  }

 private:
  EvaluationProgress& progress_;
  std::vector<CellState>& cells_;
  std::string key_;
  int64_t windows_ = 0;
};

void run_pass(llama::Model& model, const PassSettings& pass, std::vector<CellState>& cells,
              EvaluationProgress& progress, const TaskContext& context) {
  const DatasetSettings& settings = pass.settings;
  int64_t longest = 0;
  for (const CellState& state : cells)
    longest = std::max(longest, built_tokens(state.rule, settings));
  const auto source = data::open_documents(settings, pass.tokenizer, longest);
  PassProgress done(progress, cells);
  const int64_t resume_at = done.windows();
  WindowBatcher batcher(
      model, cells[0].rule.bos ? pass.tokenizer.bos_id() : -1,
      [&](const TokenizedDocument& document, const Window& window, std::span<const float> losses) {
        add_to_cells(cells, document, window, losses, context);
      },
      [&](int64_t windows) { done.keep(windows); });
  data::Document document;
  int64_t used = 0, windows_before = 0;  ///< documents; windows of those before this one
  while ((settings.samples == 0 || used < settings.samples) && source->next(document)) {
    auto tokenized = std::make_shared<TokenizedDocument>();
    tokenized->index = document.index;
    tokenized->ids = pass.tokenizer.encode(document.text, false);
    const auto tokens = static_cast<int64_t>(tokenized->ids.size());
    if (tokens < settings.minimum_length) continue;
    const std::vector<Window> windows = windows_of_pass(tokens, cells);
    for (size_t i = 0; i < windows.size(); ++i) {
      if (windows_before + static_cast<int64_t>(i) < resume_at) continue;
      throw_if_stopped(context);
      batcher.add(tokenized, windows[i]);
      const double of_document = static_cast<double>(i) / static_cast<double>(windows.size());
      report_progress(context,
                      pass.fraction_before +
                          pass.fraction_share * fraction_of(used, settings.samples, of_document),
                      fmt::format("perplexity, document {}, window {} of {}", document.index, i + 1,
                                  windows.size()));
    }
    ++used;
    windows_before += static_cast<int64_t>(windows.size());
  }
  batcher.flush();
  if (source->bad_records() > 0) {
    spdlog::warn("{}: {} malformed records skipped", settings.path, source->bad_records());
  }
}

}  // namespace

std::vector<CellOutcome> measure_perplexity(llama::Model& model, const llama::Tokenizer& tokenizer,
                                            const DatasetSettings& settings,
                                            std::span<const Cell> cells,
                                            EvaluationProgress& progress,
                                            const TaskContext& context) {
  const bool fused = settings.window == "truncated" && !model.positions().depends_on_length();
  std::vector<std::vector<CellState>> passes;
  for (const Cell& cell : cells) {
    CellState state;
    state.cell = &cell;
    state.rule = window_rule(settings, cell.context_length, tokenizer.bos_id() >= 0);
    if (state.rule.sliding && state.rule.stride > cell.context_length) {
      spdlog::warn("stride {} is past the window's {} positions: tokens between are not scored",
                   state.rule.stride, cell.context_length);
    }
    if (passes.empty() || !fused) passes.emplace_back();
    passes.back().push_back(state);
  }

  std::vector<CellOutcome> outcomes;
  for (size_t p = 0; p < passes.size(); ++p) {
    const auto start = std::chrono::steady_clock::now();
    const double share = 1.0 / static_cast<double>(passes.size());
    run_pass(model, {tokenizer, settings, share * static_cast<double>(p), share}, passes[p],
             progress, context);
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    int64_t tokens = 0;
    for (const CellState& state : passes[p]) tokens += state.totals.tokens();
    for (const CellState& state : passes[p]) {
      if (state.totals.tokens() == 0) {
        throw_user_error(
            "{}: no token to score at context length {}; is every document empty or "
            "shorter than minimum_length {}?",
            settings.path.empty() ? settings.kind : settings.path, state.cell->context_length,
            settings.minimum_length);
      }
      CellOutcome outcome;
      outcome.cell = state.cell->id;
      outcome.measures = state.totals.measures();
      outcome.seconds = elapsed.count() * static_cast<double>(state.totals.tokens()) /
                        static_cast<double>(tokens);
      outcomes.push_back(std::move(outcome));
    }
  }
  return outcomes;
}

}  // namespace ropesweep::tasks
