// UTF-8 as the tokenizer needs it: code points out of text, and text made valid.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace ropesweep::llama {

/// Length in bytes of the valid sequence at `at` and its code point; length 0 where it is not valid
/// (overlong forms, surrogates and values past U+10FFFF included).
struct CodePoint {
  char32_t value = 0;
  size_t length = 0;
};
CodePoint code_point_at(std::string_view text, size_t at);

void append_utf8(std::string& text, char32_t code_point);

/// Whether all of `text` is valid.
bool is_valid_utf8(std::string_view text);

/// Every maximal invalid part (Unicode 15, section 3.9, "U+FFFD substitution of maximal subparts")
/// becomes one U+FFFD, as Python's errors="replace" and Rust's from_utf8_lossy do.
std::string replace_invalid_utf8(std::string_view text);

/// The Unicode property White_Space.
bool is_white_space(char32_t code_point);

}  // namespace ropesweep::llama
