// Parsing and evaluating --where in one go: each rule returns the rows for which it holds.
#include "analysis/expression.h"

#include <algorithm>
#include <functional>
#include <variant>

#include "analysis/tokens.h"
#include "experiments/error.h"
#include "experiments/nearest_name.h"
#include "storage/tables.h"

namespace ropesweep {
namespace {

using Rows = std::vector<uint8_t>;

/// A column, or a literal.
struct Operand {
  const Column* column = nullptr;
  bool is_text = false;
  double number = 0;
  std::string text;
  size_t place = 0;
};

const std::string& text_at(const Operand& operand, size_t row) {
  return operand.column != nullptr ? operand.column->texts[row] : operand.text;
}

double number_at(const Operand& operand, size_t row) {
  return operand.column != nullptr ? operand.column->numbers[row] : operand.number;
}

template <typename Compare>
Rows compare_rows(const Operand& left, const Operand& right, size_t rows, const Compare& compare) {
  Rows result(rows);
  if (left.is_text) {
    for (size_t row = 0; row < rows; ++row) {
      result[row] = compare(text_at(left, row), text_at(right, row));
    }
  } else {
    for (size_t row = 0; row < rows; ++row) {
      result[row] = compare(number_at(left, row), number_at(right, row));
    }
  }
  return result;
}

Rows compare_by(const std::string& symbol, const Operand& left, const Operand& right, size_t rows) {
  if (symbol == "=") return compare_rows(left, right, rows, std::equal_to<>());
  if (symbol == "!=") return compare_rows(left, right, rows, std::not_equal_to<>());
  if (symbol == "<") return compare_rows(left, right, rows, std::less<>());
  if (symbol == "<=") return compare_rows(left, right, rows, std::less_equal<>());
  if (symbol == ">") return compare_rows(left, right, rows, std::greater<>());
  return compare_rows(left, right, rows, std::greater_equal<>());
}

class Evaluator {
 public:
  Evaluator(const Table& table, const std::string& expression)
      : table_(table),
        rows_(row_count(table)),
        expression_(expression),
        tokens_(tokenize_expression(expression)) {}

  Rows all() {
    Rows rows = disjunction();
    if (peek().kind != TokenKind::end) fail(peek(), "expected and, or, or the end");
    return rows;
  }

 private:
  /// Deeper than any person writes; keeps the recursion off the stack's end.
  static constexpr int kDeepest = 200;

  Rows disjunction() {
    Rows rows = conjunction();
    while (take("or")) {
      const Rows other = conjunction();
      for (size_t i = 0; i < rows_; ++i) rows[i] |= other[i];
    }
    return rows;
  }

  Rows conjunction() {
    Rows rows = negation();
    while (take("and")) {
      const Rows other = negation();
      for (size_t i = 0; i < rows_; ++i) rows[i] &= other[i];
    }
    return rows;
  }

  Rows negation() {
    if (++depth_ > kDeepest) fail(peek(), "nested too deeply");
    Rows rows;
    if (take("not")) {
      rows = negation();
      for (uint8_t& row : rows) row ^= 1;
    } else if (take("(")) {
      rows = disjunction();
      expect(")");
    } else {
      rows = comparison();
    }
    --depth_;
    return rows;
  }

  Rows comparison() {
    const Operand left = operand();
    if (take("not")) {
      expect("in");
      Rows rows = membership(left);
      for (uint8_t& row : rows) row ^= 1;
      return rows;
    }
    if (take("in")) return membership(left);
    const Token symbol = peek();
    static const std::vector<std::string> comparisons = {"=", "!=", "<", "<=", ">", ">="};
    if (symbol.kind != TokenKind::symbol ||
        std::find(comparisons.begin(), comparisons.end(), symbol.text) == comparisons.end()) {
      fail(symbol, "expected a comparison (= != < <= > >= in)");
    }
    ++next_;
    const Operand right = operand();
    check_types(left, right);
    return compare_by(symbol.text, left, right, rows_);
  }

  Rows membership(const Operand& left) {
    expect("(");
    Rows rows(rows_, 0);
    do {
      const Token& token = peek();
      if (token.kind != TokenKind::number && token.kind != TokenKind::text) {
        fail(token, "expected a number or a quoted text");
      }
      const Operand literal = operand();
      check_types(left, literal);
      const Rows equal = compare_rows(left, literal, rows_, std::equal_to<>());
      for (size_t i = 0; i < rows_; ++i) rows[i] |= equal[i];
    } while (take(","));
    expect(")");
    return rows;
  }

  Operand operand() {
    const Token& token = peek();
    Operand result;
    result.place = token.place;
    if (token.kind == TokenKind::name) {
      result.column = column(token);
      result.is_text = result.column->is_text;
    } else if (token.kind == TokenKind::text) {
      result.is_text = true;
      result.text = token.text;
    } else if (token.kind == TokenKind::number) {
      result.number = token.number;
    } else {
      fail(token, "expected a column, a number or a quoted text");
    }
    ++next_;
    return result;
  }

  const Column* column(const Token& token) const {
    std::vector<std::string> names;
    for (const Column& each : table_) {
      if (each.name == token.text) return &each;
      names.push_back(each.name);
    }
    const std::string nearest = nearest_name(token.text, names);
    fail(token, nearest.empty()
                    ? "no column \"" + token.text + "\" (texts need quotes)"
                    : "no column \"" + token.text + "\"; did you mean " + nearest + "?");
  }

  void check_types(const Operand& left, const Operand& right) const {
    if (left.is_text == right.is_text) return;
    const Operand& named = left.column != nullptr ? left : right;
    const Operand& other = left.column != nullptr ? right : left;
    if (named.column == nullptr) {
      throw_expression_error(expression_, right.place, "a text is compared with a number");
    }
    throw_expression_error(expression_, other.place,
                           "column " + named.column->name +
                               (named.is_text ? " holds text: put quotes around the value"
                                              : " holds numbers: leave the quotes out"));
  }

  const Token& peek() const { return tokens_[next_]; }

  bool take(const char* symbol) {
    if (peek().kind != TokenKind::symbol || peek().text != symbol) return false;
    ++next_;
    return true;
  }

  void expect(const char* symbol) {
    if (!take(symbol)) fail(peek(), std::string("expected ") + symbol);
  }

  [[noreturn]] void fail(const Token& token, const std::string& message) const {
    throw_expression_error(expression_, token.place, message);
  }

  const Table& table_;
  size_t rows_;
  const std::string& expression_;
  std::vector<Token> tokens_;
  size_t next_ = 0;
  int depth_ = 0;
};

}  // namespace

Rows rows_where(const Table& table, const std::string& expression) {
  if (expression.find_first_not_of(" \t\n") == std::string::npos) {
    return Rows(row_count(table), 1);
  }
  return Evaluator(table, expression).all();
}

const Column& find_column(const Table& table, const std::string& name, const std::string& where) {
  std::vector<std::string> names;
  std::string all;
  for (const Column& column : table) {
    if (column.name == name) return column;
    names.push_back(column.name);
    all += (all.empty() ? "" : ", ") + column.name;
  }
  const std::string nearest = nearest_name(name, names);
  if (!nearest.empty()) {
    throw_user_error("{}: no column \"{}\"; did you mean {}?", where, name, nearest);
  }
  throw_user_error("{}: no column \"{}\"; there are {}", where, name, all);
}

}  // namespace ropesweep
