// Batches of windows.
#include "worker/tasks/window_batcher.h"

#include <algorithm>
#include <utility>

#include "worker/tasks/thrift.h"

namespace ropesweep::tasks {

namespace {

/// Short windows share a pass of up to this many positions; rows don't depend on their neighbours.
constexpr int64_t kPositionsPerPass = 4096;

/// Passes of fewer positions are padded: a handful of rows goes through the kernels of decoding,
/// whose last bits differ, and a short window's losses must be those of a long one's beginning.
constexpr int64_t kLeastPositions = 16;

}  // namespace

WindowBatcher::WindowBatcher(llama::Model& model, const SampleShare& share, int32_t bos,
                             PassBegin pass_begin, Sink sink, PassEnd pass_end)
    : model_(model),
      share_(share),
      bos_(bos),
      least_(model.positions().depends_on_length() ? 0 : kLeastPositions),
      pass_begin_(std::move(pass_begin)),
      sink_(std::move(sink)),
      pass_end_(std::move(pass_end)) {}

void WindowBatcher::add(std::shared_ptr<const TokenizedDocument> document, const Window& window) {
  const int64_t positions = std::max(window.tokens + (bos_ >= 0 ? 1 : 0), least_);
  if (!open_.windows.empty() && (positions != open_.positions || full(positions))) close();
  open_.positions = positions;
  append_ids(*document, window);
  open_.windows.push_back({std::move(document), window});
}

void WindowBatcher::finish() {
  if (!open_.windows.empty()) close();
  run();
}

bool WindowBatcher::full(int64_t positions) const {
  if (thrift() != Thrift::none && positions >= kLeastPositions) return true;  // one by one
  return static_cast<int64_t>(open_.windows.size() + 1) * positions > kPositionsPerPass;
}

void WindowBatcher::close() {
  open_.pass.batch = static_cast<int64_t>(open_.windows.size());
  closed_.push_back(std::exchange(open_, {}));
  if (static_cast<int64_t>(closed_.size()) == share_.size()) run();
}

void WindowBatcher::run() {
  if (closed_.empty()) return;
  pass_begin_();
  std::vector<ScoringPass> passes;
  for (Batch& batch : closed_) passes.push_back(std::move(batch.pass));
  const auto losses = losses_of(model_, share_, passes);
  for (size_t i = 0; i < closed_.size(); ++i) {
    hand_over(closed_[i], losses[i]);
    pass_end_(static_cast<int64_t>(closed_[i].windows.size()));
  }
  closed_.clear();
}

void WindowBatcher::hand_over(const Batch& batch, std::span<const float> losses) {
  for (size_t i = 0; i < batch.windows.size(); ++i) {
    const auto& [document, window] = batch.windows[i];
    // Position p predicts the token at p + 1: with BOS the first token's loss is at 0, without it
    // has none.
    const float* row = losses.data() + i * static_cast<size_t>(batch.positions);
    token_losses_.assign(static_cast<size_t>(window.tokens), 0.0f);
    const auto shift = static_cast<size_t>(bos_ >= 0 ? 0 : 1);
    std::copy(row, row + static_cast<size_t>(window.tokens) - shift,
              token_losses_.begin() + static_cast<std::ptrdiff_t>(shift));
    sink_(*document, window, token_losses_);
  }
}

void WindowBatcher::append_ids(const TokenizedDocument& document, const Window& window) {
  std::vector<int32_t>&ids = open_.pass.ids, &targets = open_.pass.targets;
  const auto token = [&](int64_t i) { return document.ids[static_cast<size_t>(i)]; };
  const auto target = [&](int64_t i) { return i >= window.score_from ? token(i) : -1; };
  if (bos_ >= 0) {
    ids.push_back(bos_);
    targets.push_back(target(window.first));
  }
  for (int64_t i = window.first; i < window.end(); ++i) {
    ids.push_back(token(i));
    targets.push_back(i + 1 < window.end() ? target(i + 1) : -1);
  }
  const size_t padded = (open_.windows.size() + 1) * static_cast<size_t>(open_.positions);
  ids.resize(padded, 0);
  targets.resize(padded, -1);
}

}  // namespace ropesweep::tasks
