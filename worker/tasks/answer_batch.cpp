// Slots of a batch: filled with prompts, stepped together, filled anew.
#include "worker/tasks/answer_batch.h"

#include <algorithm>
#include <new>
#include <numeric>
#include <utility>

#include "experiments/error.h"
#include "worker/tasks/memory.h"
#include "worker/tasks/token_ids.h"

namespace ropesweep::tasks {

namespace {

/// What caches may take of the memory that is left: a prompt's activations come on top, and on a
/// host other workers look at the same memory.
constexpr double kShareOfDevice = 0.5, kShareOfHost = 0.25;

void check_prompt(std::span<const int32_t> prompt, int64_t vocabulary) {
  if (prompt.empty()) throw_user_error("the prompt is empty: there is nothing to continue");
  check_ids(prompt, vocabulary, "the prompt");
}

backend::Dtype type_of(const llama::Model& model) { return model.weights().embedding.dtype(); }

/// Caches of so many tokens that there is memory for; at least one.
int64_t caches_that_fit(llama::Model& model, int64_t tokens) {
  const auto bytes =
      static_cast<double>(llama::KvCache::bytes(model.config(), type_of(model), tokens));
  const size_t capacity = model.backend().capacity(), used = model.backend().bytes_in_use();
  const double room =
      capacity > 0 ? kShareOfDevice * static_cast<double>(capacity > used ? capacity - used : 0)
                   : kShareOfHost * static_cast<double>(available_memory());
  return static_cast<int64_t>(
      std::clamp(room / std::max(bytes, 1.0), 1.0, static_cast<double>(backend::kFewRows)));
}

}  // namespace

AnswerBatch::AnswerBatch(llama::Model& model, const llama::Tokenizer& tokenizer,
                         std::span<const Question> questions, int64_t max_new_tokens,
                         OnAnswer on_answer, int64_t at_once)
    : model_(model),
      tokenizer_(tokenizer),
      questions_(questions),
      max_new_tokens_(max_new_tokens),
      on_answer_(std::move(on_answer)),
      order_(questions.size()),
      open_(questions.size()) {
  for (const Question& question : questions_) {
    check_prompt(question.prompt, model_.config().vocabulary);
    capacity_ = std::max(capacity_, static_cast<int64_t>(question.prompt.size()) + max_new_tokens);
  }
  if (max_new_tokens_ <= 0) {
    for (size_t i = 0; i < questions_.size(); ++i) on_answer_(i, {});
    open_ = 0;
    return;
  }
  std::iota(order_.begin(), order_.end(), size_t{0});
  // Neighbours in the order of their ids share the longest beginnings.
  std::stable_sort(order_.begin(), order_.end(),
                   [&](size_t a, size_t b) { return questions_[a].prompt < questions_[b].prompt; });
  const int64_t wanted =
      at_once > 0 ? std::min(at_once, backend::kFewRows) : caches_that_fit(model_, capacity_);
  at_once_ = std::min(static_cast<size_t>(wanted), questions_.size());
  slots_.reserve(at_once_);
}

std::span<const int32_t> AnswerBatch::prompt_of(const Slot& slot) const {
  return questions_[slot.question].prompt;
}

void AnswerBatch::advance() {
  if (ended()) return;
  if (Slot* slot = slot_being_fed()) return feed(*slot);
  if (begun_ < order_.size()) {
    if (Slot* slot = free_slot()) {
      begin(*slot, order_[begun_++]);
      return feed(*slot);
    }
  }
  step();
}

AnswerBatch::Slot* AnswerBatch::slot_being_fed() {
  const auto found = std::find_if(slots_.begin(), slots_.end(), [&](const Slot& slot) {
    return slot.busy && slot.fed < prompt_of(slot).size();
  });
  return found == slots_.end() ? nullptr : &*found;
}

/// One that is not busy; null when all are, and no more are to be had.
AnswerBatch::Slot* AnswerBatch::free_slot() {
  if (slots_.size() < at_once_) {
    try {
      slots_.push_back(
          {llama::KvCache(model_.backend(), model_.config(), type_of(model_), capacity_)});
      return &slots_.back();
    } catch (const std::bad_alloc&) {
      if (slots_.empty()) throw;
      at_once_ = slots_.size();
    }
  }
  const auto found =
      std::find_if(slots_.begin(), slots_.end(), [](const Slot& slot) { return !slot.busy; });
  return found == slots_.end() ? nullptr : &*found;
}

/// Takes over what another prompt, or the slot's last one, has in common with the question's.
void AnswerBatch::begin(Slot& slot, size_t question) {
  const std::vector<int32_t>& prompt = questions_[question].prompt;
  const auto length = static_cast<int64_t>(prompt.size());
  const Slot* from = &slot;
  int64_t most = 0;
  const auto consider = [&](const Slot& other) {
    const int64_t common = common_tokens(prompt_of(other).first(other.fed), prompt);
    const int64_t tokens = model_.forkable_tokens(common, length);
    if (tokens <= most) return;
    most = tokens;
    from = &other;
  };
  consider(slot);  // its own need not be copied
  for (const Slot& other : slots_) consider(other);
  if (from == &slot) {
    slot.cache.truncate(most);
  } else {
    slot.cache.fork(model_.backend(), from->cache, most);
  }
  slot.question = question;
  slot.fed = static_cast<size_t>(most);
  slot.ids.clear();
  slot.busy = true;
}

void AnswerBatch::feed(Slot& slot) {
  const std::span<const int32_t> prompt = prompt_of(slot);
  const auto piece = static_cast<size_t>(
      model_.prefill_piece(static_cast<int64_t>(slot.fed), static_cast<int64_t>(prompt.size())));
  const int32_t next = model_.extend_greedily(slot.cache, prompt.subspan(slot.fed, piece));
  slot.fed += piece;
  tokens_fed_ += static_cast<int64_t>(piece);
  if (slot.fed == prompt.size()) accept(slot, next);
}

/// A token of each sequence that is being answered.
void AnswerBatch::step() {
  std::vector<Slot*> busy;
  std::vector<llama::KvCache*> caches;
  std::vector<int32_t> ids;
  for (Slot& slot : slots_) {
    if (!slot.busy) continue;
    busy.push_back(&slot);
    caches.push_back(&slot.cache);
    ids.push_back(slot.ids.back());
  }
  const std::vector<int32_t> next = model_.extend_greedily(caches, ids);
  for (size_t i = 0; i < busy.size(); ++i) accept(*busy[i], next[i]);
}

void AnswerBatch::accept(Slot& slot, int32_t id) {
  bool ends = id == tokenizer_.eos_id() || id == model_.config().eos_id;
  if (!ends) {
    slot.ids.push_back(id);
    const Decided& decided = questions_[slot.question].decided;
    ends = (decided && decided(tokenizer_.decode(slot.ids))) ||
           static_cast<int64_t>(slot.ids.size()) >= max_new_tokens_;
  }
  if (!ends) return;
  slot.busy = false;
  --open_;
  on_answer_(slot.question, {slot.ids, tokenizer_.decode(slot.ids)});
}

}  // namespace ropesweep::tasks
