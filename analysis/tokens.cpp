// Splitting an expression into words.
#include "analysis/tokens.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <string_view>

#include "experiments/error.h"

namespace ropesweep {
namespace {

bool begins_name(char c) { return std::isalpha(static_cast<unsigned char>(c)) != 0 || c == '_'; }
bool continues_name(char c) {
  return begins_name(c) || std::isdigit(static_cast<unsigned char>(c)) != 0;
}

class Lexer {
 public:
  explicit Lexer(const std::string& expression) : expression_(expression) {}

  std::vector<Token> all() {
    std::vector<Token> tokens;
    do {
      tokens.push_back(next());
    } while (tokens.back().kind != TokenKind::end);
    return tokens;
  }

 private:
  Token next() {
    while (at_ < expression_.size() && std::isspace(static_cast<unsigned char>(expression_[at_]))) {
      ++at_;
    }
    Token token;
    token.place = at_;
    if (at_ == expression_.size()) return token;
    const char c = expression_[at_];
    if (begins_name(c)) return name(token);
    if (c == '\'' || c == '"') return text(token);
    if (std::isdigit(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '-' || c == '+') {
      return number(token);
    }
    return symbol(token);
  }

  Token name(Token token) {
    const size_t begin = at_;
    while (at_ < expression_.size() && continues_name(expression_[at_])) ++at_;
    token.kind = TokenKind::name;
    token.text = expression_.substr(begin, at_ - begin);
    std::string lower = token.text;
    std::transform(lower.begin(), lower.end(), lower.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    if (lower == "and" || lower == "or" || lower == "not" || lower == "in") {
      token.kind = TokenKind::symbol;
      token.text = lower;
    }
    return token;
  }

  Token text(Token token) {
    const char quote = expression_[at_++];
    token.kind = TokenKind::text;
    for (;;) {
      if (at_ == expression_.size()) {
        throw_expression_error(expression_, token.place, "a text without its closing quote");
      }
      const char c = expression_[at_++];
      if (c == quote) {
        if (at_ == expression_.size() || expression_[at_] != quote) return token;
        ++at_;  // a doubled quote
      }
      token.text += c;
    }
  }

  Token number(Token token) {
    const char* begin = expression_.data() + at_;
    const char* end = expression_.data() + expression_.size();
    const char* digits = *begin == '+' ? begin + 1 : begin;
    const auto [stop, error] = std::from_chars(digits, end, token.number);
    if (error != std::errc()) throw_expression_error(expression_, at_, "not a number");
    token.kind = TokenKind::number;
    token.text.assign(begin, stop);
    at_ += static_cast<size_t>(stop - begin);
    if (at_ < expression_.size() && continues_name(expression_[at_])) {
      throw_expression_error(expression_, token.place, "not a number (put quotes around texts)");
    }
    return token;
  }

  Token symbol(Token token) {
    constexpr std::array<std::string_view, 11> symbols = {"==", "!=", "<>", "<=", ">=", "=",
                                                          "<",  ">",  "(",  ")",  ","};
    for (const std::string_view each : symbols) {
      if (expression_.compare(at_, each.size(), each) != 0) continue;
      token.kind = TokenKind::symbol;
      token.text = each;
      at_ += each.size();
      if (token.text == "==") token.text = "=";
      if (token.text == "<>") token.text = "!=";
      return token;
    }
    throw_expression_error(expression_, at_, "an unexpected character");
  }

  const std::string& expression_;
  size_t at_ = 0;
};

}  // namespace

std::vector<Token> tokenize_expression(const std::string& expression) {
  return Lexer(expression).all();
}

void throw_expression_error(const std::string& expression, size_t place,
                            const std::string& message) {
  constexpr size_t kShown = 40;
  std::string rest = expression.substr(place, kShown);
  if (place + kShown < expression.size()) rest += "…";
  throw_user_error("--where at character {} ({}): {}", place + 1, rest.empty() ? "the end" : rest,
                   message);
}

}  // namespace ropesweep
