// Ids that a tokenizer gives and a model's embedding lacks are a mismatched checkpoint: said before
// the model reads past its table.
#pragma once

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

}  // namespace ropesweep::tasks
