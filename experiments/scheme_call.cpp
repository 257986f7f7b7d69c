// Parses a scheme written as a call. Grammar:
//   call     = name [ "(" [ argument { "," argument } ] ")" ]
//   argument = [ name "=" ] value
// A value is any text without a comma outside parentheses, so that a scheme may be an argument.
#include <cctype>

#include "experiments/error.h"
#include "experiments/position_encoding.h"

namespace ropesweep {
namespace {

bool is_space(char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; }

/// Letters, digits, "-" and "_"; a name starts with a letter.
bool is_name_character(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_';
}

class CallParser {
 public:
  explicit CallParser(std::string_view text) : text_(text) {}

  SchemeCall parse() {
    SchemeCall call;
    skip_spaces();
    call.name = name("a scheme's name");
    skip_spaces();
    if (take('(')) arguments(call);
    skip_spaces();
    if (place_ < text_.size()) fail("nothing more");
    return call;
  }

 private:
  /// Each level is parsed by a call of its own.
  static constexpr int kDeepest = 16;

  void arguments(SchemeCall& call) {
    skip_spaces();
    if (take(')')) return;
    do {
      argument(call);
    } while (take(','));
    if (!take(')')) fail("',' or ')'");
  }

  void argument(SchemeCall& call) {
    skip_spaces();
    const size_t start = place_;
    while (place_ < text_.size() && is_name_character(text_[place_])) ++place_;
    const std::string option(text_.substr(start, place_ - start));
    skip_spaces();
    if (!option.empty() && take('=')) {
      const std::string text = value();
      if (!call.named.emplace(option, text).second) {
        throw_user_error("scheme \"{}\": option {} is given twice", text_, option);
      }
      return;
    }
    place_ = start;
    if (!call.named.empty()) fail("an option with its name, since named ones came before it");
    call.positional.push_back(value());
  }

  /// Up to a comma or closing parenthesis of this level; not empty.
  std::string value() {
    skip_spaces();
    const size_t start = place_;
    int depth = 0;
    for (; place_ < text_.size(); ++place_) {
      const char c = text_[place_];
      if (depth == 0 && (c == ',' || c == ')')) break;
      if (c == '(' && ++depth > kDeepest) fail("no more parentheses within parentheses");
      if (c == ')') --depth;
    }
    size_t end = place_;
    while (end > start && is_space(text_[end - 1])) --end;
    if (end == start) fail("a value");
    return std::string(text_.substr(start, end - start));
  }

  std::string name(const char* what) {
    const size_t start = place_;
    if (place_ == text_.size() || std::isalpha(static_cast<unsigned char>(text_[place_])) == 0) {
      fail(what);
    }
    while (place_ < text_.size() && is_name_character(text_[place_])) ++place_;
    return std::string(text_.substr(start, place_ - start));
  }

  bool take(char c) {
    if (place_ >= text_.size() || text_[place_] != c) return false;
    ++place_;
    return true;
  }

  void skip_spaces() {
    while (place_ < text_.size() && is_space(text_[place_])) ++place_;
  }

  [[noreturn]] void fail(const char* expected) const {
    const std::string found =
        place_ < text_.size() ? fmt::format("'{}'", text_[place_]) : "the end of the text";
    throw_user_error("scheme \"{}\": expected {} at character {}, found {}", text_, expected,
                     place_ + 1, found);
  }

  std::string_view text_;
  size_t place_ = 0;
};

}  // namespace

SchemeCall parse_scheme_call(std::string_view text) { return CallParser(text).parse(); }

}  // namespace ropesweep
