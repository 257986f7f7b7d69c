// The words of an expression, with their places for error messages.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace ropesweep {

enum class TokenKind { name, number, text, symbol, end };

struct Token {
  TokenKind kind = TokenKind::end;
  std::string text;  ///< the name, the text without quotes, or the symbol; keywords in lower case
  double number = 0;
  size_t place = 0;  ///< of its first character, from 0
};

/// All words, an `end` last. Errors: user error with the place of what does not fit.
std::vector<Token> tokenize_expression(const std::string& expression);

/// Throws the user error "--where at character N (what stands there): MESSAGE".
[[noreturn]] void throw_expression_error(const std::string& expression, size_t place,
                                         const std::string& message);

}  // namespace ropesweep
