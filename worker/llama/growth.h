// Steps of a tokenizer.json that put longer texts in the place of shorter ones multiply each other:
// a few lines of a file could ask for any amount of memory.
#pragma once

#include <cstddef>

#include "experiments/error.h"

namespace ropesweep::llama {

/// Errors: user error when a text of `before` bytes became `after`, far more than any tokenizer's
/// replacements make of it.
inline void check_growth(size_t before, size_t after) {
  constexpr size_t times = 64, always = size_t{1} << 20;
  if (after > times * before + always) {
    throw_user_error(
        "tokenizer.json: its replacements make {} bytes of {}; look at normalizer, pre_tokenizer "
        "and decoder",
        after, before);
  }
}

}  // namespace ropesweep::llama
