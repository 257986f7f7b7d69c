// The parts of a parsed template. Internal to worker/data/jinja*.cpp.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "experiments/error.h"
#include "worker/data/jinja_value.h"

namespace ropesweep::data::jinja {

struct Expression;
using ExpressionPointer = std::unique_ptr<Expression>;

struct Arguments {
  std::vector<ExpressionPointer> positional;
  std::vector<std::pair<std::string, ExpressionPointer>> named;
};

/// `kind` says which members mean what.
struct Expression {
  enum class Kind {
    constant,     ///< value
    name,         ///< text
    list,         ///< arguments.positional
    map,          ///< arguments.positional: key, value, key, value, …
    member,       ///< first.text
    item,         ///< first[second]
    slice,        ///< first[second:third:fourth], each of the last three may be null
    call,         ///< first(arguments)
    filter,       ///< first|text(arguments)
    test,         ///< first is text(arguments)
    unary,        ///< text first: not, -, +
    binary,       ///< first text second: and, or, +, -, *, /, //, %, ~
    comparison,   ///< first text second, of which ==, <, in, not in, …
    conditional,  ///< first if second else third, which may be null
  };
  Kind kind = Kind::constant;
  int line = 0;
  std::string text;
  Value value;
  ExpressionPointer first, second, third, fourth;
  Arguments arguments;
};

struct Branch;
struct Statement;
struct Block {
  std::vector<Statement> statements;
};

struct Parameter {
  std::string name;
  ExpressionPointer otherwise;  ///< null: none
};

struct Macro {
  std::string name;
  std::vector<Parameter> parameters;
  Block body;
};

struct Statement {
  enum class Kind {
    text,     ///< text
    print,    ///< expression
    choice,   ///< if, elif, else: branches in turn, the last condition may be null
    loop,     ///< for names in expression if condition: body, else otherwise
    set,      ///< names (or names[0].member) = expression, or the body's text where that is null
    macro,    ///< macro
    leave,    ///< break
    proceed,  ///< continue
    scope,    ///< body: {% generation %}
  };
  Kind kind = Kind::text;
  int line = 0;
  std::string text, member;
  std::vector<std::string> names;
  ExpressionPointer expression, condition;
  std::vector<Branch> branches;
  Block body, otherwise;
  std::unique_ptr<Macro> macro;
};

/// Of a choice.
struct Branch {
  ExpressionPointer condition;  ///< null: otherwise
  Block body;
};

/// A piece of an expression, or a text between tags.
struct Token {
  enum class Kind {
    data,
    print_begin,
    print_end,
    block_begin,
    block_end,
    name,
    text,
    integer,
    real,
    sign,
    end
  };
  Kind kind = Kind::end;
  std::string text;  ///< of a text, with its escapes resolved
  int line = 0;
};

template <typename... Args>
[[noreturn]] void fail(int line, fmt::format_string<Args...> format, Args&&... args) {
  throw_user_error("chat template, line {}: {}", line,
                   fmt::format(format, std::forward<Args>(args)...));
}

/// Errors: `fail` where a value of so many bytes is more than any conversation.
inline void check_length(size_t bytes, int line) {
  constexpr size_t most = size_t{64} << 20;
  if (bytes > most) fail(line, "a text or list grows to {} bytes", bytes);
}

/// The source in tokens, the last of kind `end`; whitespace around tags has gone where
/// `trim_blocks`, `lstrip_blocks` and minus signs say so.
std::vector<Token> tokens_of(std::string_view source);

Block parse(const std::vector<Token>& tokens);

/// Arguments that have been evaluated.
struct Given {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
  /// By place or by name; null when absent.
  const Value* get(size_t place, std::string_view name) const {
    if (place < positional.size()) return &positional[place];
    for (const auto& [key, value] : named) {
      if (key == name) return &value;
    }
    return nullptr;
  }
};

// jinja_filters.cpp. Errors: user error for a name that isn't known and for values that don't fit.
Value apply_filter(const std::string& name, const Value& value, const Given& given, int line);
bool apply_test(const std::string& name, const Value& value, const Given& given, int line);
/// `value.name(given)`, of a text or dictionary.
Value call_method(const std::string& name, const Value& value, const Given& given, int line);

// jinja_functions.cpp. Errors: user error for another name, and where the template raises one.
Value call_function(const std::string& name, const Given& values, int line);

// jinja_operators.cpp
Value binary(const std::string& sign, const Value& left, const Value& right, int line);
bool compare(const std::string& sign, const Value& left, const Value& right, int line);
/// The items that a loop goes over: of a list, a dictionary's keys, a text's characters.
List items_of(const Value& value, int line);
/// Python's len(value).
int64_t length_of(const Value& value, int line);
Value item_of(const Value& value, const Value& key, int line);
/// Python's value[begin:end:step]; null: not given.
Value slice_of(const Value& value, const Value* begin, const Value* end, const Value* step,
               int line);

}  // namespace ropesweep::data::jinja
