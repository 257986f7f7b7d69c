// Ids that a tokenizer gives: whether the model's embedding has them (else the checkpoint is
// mismatched, which is said before the model reads past its table), and what two texts share.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <string_view>

#include "experiments/error.h"

namespace ropesweep::tasks {

/// Errors: user error naming `what` and the first id outside [0, vocabulary).
inline void check_ids(std::span<const int32_t> ids, int64_t vocabulary, std::string_view what) {
  for (const int32_t id : ids) {
    if (id >= 0 && id < vocabulary) continue;
    throw_user_error(
        "{}: token id {} is outside the model's vocabulary of {}; tokenizer and weights "
        "don't belong together",
        what, id, vocabulary);
  }
}

/// With how many tokens both begin.
inline int64_t common_tokens(std::span<const int32_t> a, std::span<const int32_t> b) {
  return std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin();
}

}  // namespace ropesweep::tasks
