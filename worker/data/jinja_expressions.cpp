// Expressions, from what binds least to what binds most.
#include "worker/data/jinja_expressions.h"

#include <charconv>
#include <set>

namespace ropesweep::data::jinja {

ExpressionPointer ExpressionParser::make(Form kind, std::string text, ExpressionPointer first,
                                         ExpressionPointer second) const {
  auto made = std::make_unique<Expression>();
  made->kind = kind;
  made->line = token().line;
  made->text = std::move(text);
  made->first = std::move(first);
  made->second = std::move(second);
  return made;
}

ExpressionPointer ExpressionParser::parse_expression() {
  const Level level(*this);
  ExpressionPointer value = parse_or();
  while (take_if(Kind::name, "if")) {
    ExpressionPointer condition = parse_or();
    value = make(Form::conditional, "", std::move(value), std::move(condition));
    if (take_if(Kind::name, "else")) value->third = parse_expression();
  }
  return value;
}

ExpressionPointer ExpressionParser::parse_or() {
  ExpressionPointer left = parse_and();
  while (take_if(Kind::name, "or")) left = make(Form::binary, "or", std::move(left), parse_and());
  return left;
}

ExpressionPointer ExpressionParser::parse_and() {
  ExpressionPointer left = parse_not();
  while (take_if(Kind::name, "and")) {
    left = make(Form::binary, "and", std::move(left), parse_not());
  }
  return left;
}

ExpressionPointer ExpressionParser::parse_not() {
  const Level level(*this);
  if (take_if(Kind::name, "not")) return make(Form::unary, "not", parse_not());
  return parse_comparison();
}

/// The sign of a comparison, taken; empty: none is here.
std::string ExpressionParser::take_comparison() {
  for (const char* sign : {"==", "!=", "<=", ">=", "<", ">"}) {
    if (take_if(Kind::sign, sign)) return sign;
  }
  if (take_if(Kind::name, "in")) return "in";
  if (is_word("not") && is(Kind::name, "in", 1)) {
    take();
    take();
    return "not in";
  }
  return "";
}

ExpressionPointer ExpressionParser::parse_comparison() {
  ExpressionPointer left = parse_sum();
  std::string sign = take_comparison();
  if (sign.empty()) return left;
  left = make(Form::comparison, sign, std::move(left), parse_sum());
  if (!take_comparison().empty()) fail_here("follows a chain of comparisons: not known");
  return left;
}

ExpressionPointer ExpressionParser::parse_sum() {
  ExpressionPointer left = parse_joined();
  while (is_sign("+") || is_sign("-")) {
    std::string sign = take().text;
    left = make(Form::binary, std::move(sign), std::move(left), parse_joined());
  }
  return left;
}

ExpressionPointer ExpressionParser::parse_joined() {
  ExpressionPointer left = parse_product();
  while (take_if(Kind::sign, "~")) {
    left = make(Form::binary, "~", std::move(left), parse_product());
  }
  return left;
}

ExpressionPointer ExpressionParser::parse_product() {
  ExpressionPointer left = parse_unary(true);
  while (is_sign("*") || is_sign("/") || is_sign("//") || is_sign("%")) {
    std::string sign = take().text;
    left = make(Form::binary, std::move(sign), std::move(left), parse_unary(true));
  }
  return left;
}

ExpressionPointer ExpressionParser::parse_unary(bool with_filters) {
  const Level level(*this);
  ExpressionPointer value;
  if (is_sign("-") || is_sign("+")) {
    std::string sign = take().text;
    value = make(Form::unary, std::move(sign), parse_unary(false));
  } else {
    value = parse_postfix(parse_primary());
  }
  return with_filters ? parse_filters(std::move(value)) : std::move(value);
}

ExpressionPointer ExpressionParser::parse_filters(ExpressionPointer value) {
  while (true) {
    if (take_if(Kind::sign, "|")) {
      value = make(Form::filter, expect_name(), std::move(value));
      if (take_if(Kind::sign, "(")) value->arguments = parse_arguments();
    } else if (take_if(Kind::name, "is")) {
      value = parse_test(std::move(value));
    } else if (is_sign("(")) {
      value = parse_postfix(std::move(value));
    } else {
      return value;
    }
  }
}

ExpressionPointer ExpressionParser::parse_test(ExpressionPointer value) {
  const bool negated = take_if(Kind::name, "not");
  ExpressionPointer test = make(Form::test, expect_name(), std::move(value));
  const std::set<std::string> others = {"else", "or", "and", "is", "not", "in", "if"};
  const bool is_argument = token().kind == Kind::text || token().kind == Kind::integer ||
                           token().kind == Kind::real || is_sign("[") || is_sign("{") ||
                           (token().kind == Kind::name && !others.contains(token().text));
  if (take_if(Kind::sign, "(")) {
    test->arguments = parse_arguments();
  } else if (is_argument) {
    test->arguments.positional.push_back(parse_postfix(parse_primary()));
  }
  return negated ? make(Form::unary, "not", std::move(test)) : std::move(test);
}

Arguments ExpressionParser::parse_arguments() {
  Arguments arguments;
  while (!take_if(Kind::sign, ")")) {
    if (token().kind == Kind::name && is(Kind::sign, "=", 1)) {
      std::string name = take().text;
      take();
      arguments.named.emplace_back(std::move(name), parse_expression());
    } else {
      arguments.positional.push_back(parse_expression());
    }
    if (!is_sign(")")) expect_sign(",");
  }
  return arguments;
}

ExpressionPointer ExpressionParser::parse_postfix(ExpressionPointer value) {
  while (true) {
    if (take_if(Kind::sign, ".")) {
      if (token().kind == Kind::integer) {
        ExpressionPointer index = parse_primary();
        value = make(Form::item, "", std::move(value), std::move(index));
      } else {
        value = make(Form::member, expect_name(), std::move(value));
      }
    } else if (take_if(Kind::sign, "[")) {
      value = parse_subscript(std::move(value));
    } else if (take_if(Kind::sign, "(")) {
      value = make(Form::call, "", std::move(value));
      value->arguments = parse_arguments();
    } else {
      return value;
    }
  }
}

ExpressionPointer ExpressionParser::parse_subscript(ExpressionPointer value) {
  ExpressionPointer begin;
  if (!is_sign(":")) begin = parse_expression();
  if (take_if(Kind::sign, "]")) return make(Form::item, "", std::move(value), std::move(begin));
  ExpressionPointer slice = make(Form::slice, "", std::move(value), std::move(begin));
  expect_sign(":");
  if (!is_sign(":") && !is_sign("]")) slice->third = parse_expression();
  if (take_if(Kind::sign, ":") && !is_sign("]")) slice->fourth = parse_expression();
  expect_sign("]");
  return slice;
}

ExpressionPointer ExpressionParser::parse_list(ExpressionPointer first, const std::string& end) {
  ExpressionPointer list = make(Form::list);
  if (first) list->arguments.positional.push_back(std::move(first));
  if (end.empty()) {
    while (take_if(Kind::sign, ",")) list->arguments.positional.push_back(parse_expression());
    return list;
  }
  while (!take_if(Kind::sign, end)) {
    if (!list->arguments.positional.empty()) expect_sign(",");
    if (take_if(Kind::sign, end)) break;
    list->arguments.positional.push_back(parse_expression());
  }
  return list;
}

ExpressionPointer ExpressionParser::parse_map() {
  ExpressionPointer map = make(Form::map);
  while (!take_if(Kind::sign, "}")) {
    map->arguments.positional.push_back(parse_expression());
    expect_sign(":");
    map->arguments.positional.push_back(parse_expression());
    if (!is_sign("}")) expect_sign(",");
  }
  return map;
}

ExpressionPointer ExpressionParser::constant(Value value) const {
  ExpressionPointer made = make(Form::constant);
  made->value = std::move(value);
  return made;
}

ExpressionPointer ExpressionParser::parse_number(const Token& number) const {
  const char* const begin = number.text.data();
  const char* const end = begin + number.text.size();
  double real = 0;
  int64_t integer = 0;
  const bool whole = number.kind == Kind::integer;
  const auto error =
      whole ? std::from_chars(begin, end, integer).ec : std::from_chars(begin, end, real).ec;
  if (error != std::errc()) fail(number.line, "{} is too large a number", number.text);
  return constant(whole ? Value(integer) : Value(real));
}

ExpressionPointer ExpressionParser::parse_primary() {
  if (take_if(Kind::sign, "(")) {
    if (take_if(Kind::sign, ")")) return make(Form::list);
    ExpressionPointer inside = parse_expression();
    if (is_sign(",")) return parse_list(std::move(inside), ")");
    expect_sign(")");
    return inside;
  }
  if (take_if(Kind::sign, "[")) return parse_list(nullptr, "]");
  if (take_if(Kind::sign, "{")) return parse_map();
  const Token& here = token();
  if (here.kind == Kind::text) {
    std::string text;
    while (token().kind == Kind::text) text += take().text;
    return constant(text);
  }
  if (here.kind == Kind::integer || here.kind == Kind::real) return parse_number(take());
  if (here.kind != Kind::name) fail_here("stands where a value should");
  std::string name = take().text;
  if (name == "true" || name == "True") return constant(true);
  if (name == "false" || name == "False") return constant(false);
  if (name == "none" || name == "None") return constant(Value());
  return make(Form::name, std::move(name));
}

}  // namespace ropesweep::data::jinja
