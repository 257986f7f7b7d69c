// Prompt → cache → options beside each other; or one whole sequence after the other.
#include "worker/tasks/option_passes.h"

#include <algorithm>
#include <utility>

#include "experiments/error.h"
#include "worker/tasks/token_ids.h"

namespace ropesweep::tasks {

namespace {

/// A cache's room grows by so many tokens: prompts that follow each other differ by few.
constexpr int64_t room_step = 256;

double log_likelihood(const std::vector<float>& losses) {
  double sum = 0;
  for (const float loss : losses) sum -= static_cast<double>(loss);
  return sum;
}

}  // namespace

OptionPasses::OptionPasses(llama::Model& model, ChoiceIds ids, int64_t context_length,
                           PromptCache& prompts)
    : model_(model), ids_(std::move(ids)), context_length_(context_length), prompts_(prompts) {
  for (const std::vector<int32_t>& option : ids_.options) {
    longest_ = std::max(longest_, option.size());
    if (static_cast<int64_t>(option.size()) > context_length) {
      throw_user_error("an option of {} tokens is longer than the context length {}", option.size(),
                       context_length);
    }
  }
  cut_ = static_cast<int64_t>(ids_.prompt.size() + longest_) > context_length + 1;
  // All but the prompt's last token are fed before the options.
  branched_ = model.can_branch() && !cut_ &&
              static_cast<int64_t>(ids_.prompt.size()) > llama::Model::least_branched;
}

int64_t OptionPasses::tokens() const {
  int64_t tokens = 0;
  for (const auto& option : ids_.options) tokens += static_cast<int64_t>(option.size());
  return tokens;
}

void OptionPasses::advance() {
  if (!branched_) return score_whole();
  if (!begun_) begin_prompt();
  const int64_t held = prompts_.cache->length, fed = std::ssize(ids_.prompt) - 1;
  const int64_t tokens = model_.prefill_piece(held, fed);
  if (held + tokens == fed) return score_branches();
  const auto piece =
      std::span(ids_.prompt).subspan(static_cast<size_t>(held), static_cast<size_t>(tokens));
  prompts_.ids.insert(prompts_.ids.end(), piece.begin(), piece.end());
  model_.extend(*prompts_.cache, piece);
}

/// Room in the cache, and of its tokens those that this prompt begins with too; enough are left to
/// feed that sums are formed as in a whole pass.
void OptionPasses::begin_prompt() {
  begun_ = true;
  const auto needed = static_cast<int64_t>(ids_.prompt.size() + longest_);
  if (prompts_.cache == nullptr || prompts_.cache->capacity < needed) {
    const int64_t room = (needed + room_step - 1) / room_step * room_step;
    prompts_.cache = std::make_unique<llama::KvCache>(model_.backend(), model_.config(),
                                                      model_.weights().embedding.dtype(), room);
    prompts_.ids.clear();
  }
  const int64_t kept = std::min(common_tokens(prompts_.ids, ids_.prompt),
                                std::ssize(ids_.prompt) - 1 - llama::Model::least_branched);
  prompts_.ids.resize(static_cast<size_t>(kept));
  prompts_.cache->truncate(kept);
}

/// The prompt's last token stands before each option and is fed with it.
void OptionPasses::score_branches() {
  const auto held = static_cast<size_t>(prompts_.cache->length);
  const auto rest = std::span(ids_.prompt).subspan(held, ids_.prompt.size() - 1 - held);
  std::vector<llama::Branch> branches;
  for (const std::vector<int32_t>& option : ids_.options) {
    llama::Branch branch{{ids_.prompt.back()}, option};
    branch.ids.insert(branch.ids.end(), option.begin(), option.end() - 1);
    branches.push_back(std::move(branch));
  }
  const auto losses = model_.branch_losses(*prompts_.cache, rest, branches);
  prompts_.ids.insert(prompts_.ids.end(), rest.begin(), rest.end());
  for (const std::vector<float>& of_option : losses) {
    log_likelihoods_.push_back(log_likelihood(of_option));
  }
}

/// The next option after the last tokens of its prompt that there is room for.
void OptionPasses::score_whole() {
  const std::vector<int32_t>& option = ids_.options[log_likelihoods_.size()];
  std::vector<int32_t> ids = ids_.prompt;
  ids.insert(ids.end(), option.begin(), option.end());
  const auto most = static_cast<size_t>(context_length_) + 1;
  if (ids.size() > most) ids.erase(ids.begin(), ids.end() - static_cast<std::ptrdiff_t>(most));
  std::vector<int32_t> targets(ids.size() - 1 - option.size(), -1);
  targets.insert(targets.end(), option.begin(), option.end());
  ids.pop_back();
  const std::vector<float> losses = model_.token_losses(ids, targets, 1);
  const auto first = losses.end() - static_cast<std::ptrdiff_t>(option.size());
  log_likelihoods_.push_back(log_likelihood({first, losses.end()}));
}

}  // namespace ropesweep::tasks
