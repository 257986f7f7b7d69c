// How many units a prompt of a given length holds.
#include <algorithm>

#include "experiments/error.h"
#include "worker/data/record_builder.h"

namespace ropesweep::data {

int64_t count_tokens(const llama::Tokenizer& tokenizer, std::string_view text) {
  return static_cast<int64_t>(tokenizer.encode(text, true).size());
}

Fitted fit_units(const char* kind, const llama::Tokenizer& tokenizer, int64_t limit, int64_t least,
                 const std::function<std::string(int64_t units)>& prompt_of) {
  constexpr int64_t trial_units = 32;
  constexpr int rounds = 4;
  const auto fitted = [&](int64_t units) {
    std::string prompt = prompt_of(units);
    const int64_t tokens = count_tokens(tokenizer, prompt);
    return Fitted{units, tokens, std::move(prompt)};
  };
  Fitted best = fitted(least);
  if (best.tokens > limit) {
    throw_user_error(
        "{}: the shortest prompt has {} tokens, but only {} fit: ask for a longer context", kind,
        best.tokens, limit);
  }
  const int64_t trial_tokens = fitted(least + trial_units).tokens - best.tokens;
  const int64_t unit_tokens = std::max<int64_t>(1, (trial_tokens + trial_units - 1) / trial_units);
  // Units have nearly the same length: a few corrected guesses come to within one or two of the
  // limit.
  Fitted guess = best;
  for (int round = 0; round < rounds; ++round) {
    const int64_t step = (limit - guess.tokens) / unit_tokens;
    if (guess.tokens <= limit && step == 0) break;
    guess = fitted(std::max(least, guess.units + (guess.tokens > limit ? step - 1 : step)));
    if (guess.tokens <= limit && guess.units > best.units) best = guess;
  }
  return best;
}

}  // namespace ropesweep::data
