// Unicode's normalization form C, for the tokenizers that ask for it.
#pragma once

#include <string>
#include <string_view>

namespace ropesweep::llama {

/// Whether this build can: it was made with libutf8proc.
bool can_compose();

/// Form C of valid UTF-8 (Unicode Standard Annex 15), with marks ordered as Unicode 9 orders them:
/// that is what the library `tokenizers` has, and later marks stay where they are.
/// Errors: std::logic_error where this build can't.
std::string compose(std::string_view text);

}  // namespace ropesweep::llama
