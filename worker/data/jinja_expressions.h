// Tokens to expressions, by recursive descent with Jinja2's precedences. Internal to
// worker/data/jinja*.cpp.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "worker/data/jinja_syntax.h"

namespace ropesweep::data::jinja {

class ExpressionParser {
 public:
  explicit ExpressionParser(const std::vector<Token>& tokens) : tokens_(tokens) {}

  ExpressionPointer parse_expression();
  /// One without `if` outside of brackets.
  ExpressionPointer parse_or();
  /// What is left of a list whose first item is known, up to and with `end` (empty: as far as
  /// commas go on).
  ExpressionPointer parse_list(ExpressionPointer first, const std::string& end);

 protected:
  using Kind = Token::Kind;
  using Form = Expression::Kind;

  /// Counts how deep the parser is in itself.
  class Level {
   public:
    explicit Level(ExpressionParser& parser) : parser_(parser) {
      if (++parser_.depth_ > kDeepest) fail(parser_.token().line, "nested too deeply");
    }
    ~Level() { --parser_.depth_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;

   private:
    ExpressionParser& parser_;
  };

  const Token& token(size_t ahead = 0) const {
    return tokens_[std::min(at_ + ahead, tokens_.size() - 1)];
  }
  bool is(Kind kind, std::string_view text, size_t ahead = 0) const {
    return token(ahead).kind == kind && token(ahead).text == text;
  }
  bool is_sign(std::string_view text) const { return is(Kind::sign, text); }
  bool is_word(std::string_view text) const { return is(Kind::name, text); }

  Token take() { return tokens_[at_ < tokens_.size() - 1 ? at_++ : at_]; }
  bool take_if(Kind kind, std::string_view text) {
    if (!is(kind, text)) return false;
    take();
    return true;
  }

  [[noreturn]] void fail_here(const char* what) const {
    const Token& at = token();
    fail(at.line, "'{}' {}", at.text.empty() ? "the end of a tag" : at.text, what);
  }
  void expect(Kind kind, std::string_view text) {
    if (!take_if(kind, text)) fail(token().line, "expected '{}', found '{}'", text, token().text);
  }
  void expect_sign(std::string_view text) { expect(Kind::sign, text); }
  void expect_block_end() {
    if (token().kind != Kind::block_end) fail_here("is unexpected: the tag should end");
    take();
  }
  std::string expect_name() {
    if (token().kind != Kind::name) fail_here("stands where a name should");
    return take().text;
  }

 private:
  ExpressionPointer make(Form kind, std::string text = "", ExpressionPointer first = nullptr,
                         ExpressionPointer second = nullptr) const;
  ExpressionPointer constant(Value value) const;
  std::string take_comparison();
  ExpressionPointer parse_and();
  ExpressionPointer parse_not();
  ExpressionPointer parse_comparison();
  ExpressionPointer parse_sum();
  ExpressionPointer parse_joined();
  ExpressionPointer parse_product();
  ExpressionPointer parse_unary(bool with_filters);
  ExpressionPointer parse_filters(ExpressionPointer value);
  ExpressionPointer parse_test(ExpressionPointer value);
  ExpressionPointer parse_postfix(ExpressionPointer value);
  ExpressionPointer parse_subscript(ExpressionPointer value);
  ExpressionPointer parse_map();
  ExpressionPointer parse_number(const Token& number) const;
  ExpressionPointer parse_primary();
  Arguments parse_arguments();

  /// Of brackets and blocks in one another: no template comes near, and the stack holds it.
  static constexpr int kDeepest = 200;

  const std::vector<Token>& tokens_;
  size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace ropesweep::data::jinja
