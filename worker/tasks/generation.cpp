// Prompt → cache → greedy tokens.
#include "worker/tasks/generation.h"

#include <algorithm>
#include <utility>

#include "worker/tasks/chat_template.h"
#include "worker/tasks/interruption.h"

namespace ropesweep::tasks {

namespace {

/// Tokens of a prompt fed at once under static positions, so that a stop is heard between them.
constexpr size_t kPrefillTokens = 2048;

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

}  // namespace

Continuation::Continuation(llama::Model& model, const llama::Tokenizer& tokenizer,
                           std::vector<int32_t> prompt, int64_t max_new_tokens, Decided decided)
    : model_(model),
      tokenizer_(tokenizer),
      prompt_(std::move(prompt)),
      max_new_tokens_(max_new_tokens),
      decided_(std::move(decided)),
      cache_(model.backend(), model.config(), model.weights().embedding.dtype(),
             static_cast<int64_t>(prompt_.size()) + max_new_tokens),
      ended_(max_new_tokens <= 0) {
  check_prompt(prompt_, model.config().vocabulary);
}

void Continuation::advance() {
  if (fed_ == prompt_.size()) {
    const int32_t last = ids_.back();
    return accept(model_.extend_greedily(cache_, std::span(&last, 1)));
  }
  const size_t left = prompt_.size() - fed_;
  const size_t piece =
      model_.positions().depends_on_length() ? left : std::min(left, kPrefillTokens);
  const int32_t next = model_.extend_greedily(cache_, std::span(prompt_).subspan(fed_, piece));
  fed_ += piece;
  if (fed_ == prompt_.size()) accept(next);
}

void Continuation::accept(int32_t id) {
  ended_ = id == tokenizer_.eos_id() || id == model_.config().eos_id;
  if (ended_) return;
  ids_.push_back(id);
  ended_ = (decided_ && decided_(tokenizer_.decode(ids_))) ||
           static_cast<int64_t>(ids_.size()) >= max_new_tokens_;
}

Generated Continuation::generated() const { return {ids_, tokenizer_.decode(ids_)}; }

Generated generate(llama::Model& model, const llama::Tokenizer& tokenizer,
                   std::span<const int32_t> prompt, int64_t max_new_tokens, const Decided& decided,
                   const TaskContext& context) {
  Continuation continuation(model, tokenizer, {prompt.begin(), prompt.end()}, max_new_tokens,
                            decided);
  while (!continuation.ended()) {
    throw_if_stopped(context);
    continuation.advance();
  }
  return continuation.generated();
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

}  // namespace ropesweep::tasks
