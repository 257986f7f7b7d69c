// A template's source to tokens, as Jinja2's lexer does it with trim_blocks and lstrip_blocks.
#include <cctype>
#include <charconv>

#include "worker/data/jinja_syntax.h"

namespace ropesweep::data::jinja {
namespace {

/// Tokens: no template comes near, and so deep expressions still fit the stack.
constexpr size_t kLongestTag = 1000;

constexpr std::string_view spaces = " \t\r\n\v\f";

/// With "\n" for every line end, and without the last one.
std::string normalized(std::string_view source) {
  std::string text;
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r' && i + 1 < source.size() && source[i + 1] == '\n') continue;
    text += source[i] == '\r' ? '\n' : source[i];
  }
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

void append_utf8(std::string& text, uint32_t code) {
  if (code < 0x80) {
    text += static_cast<char>(code);
  } else if (code < 0x800) {
    text += static_cast<char>(0xC0 | (code >> 6));
    text += static_cast<char>(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    text += static_cast<char>(0xE0 | (code >> 12));
    text += static_cast<char>(0x80 | ((code >> 6) & 0x3F));
    text += static_cast<char>(0x80 | (code & 0x3F));
  } else {
    text += static_cast<char>(0xF0 | (code >> 18));
    text += static_cast<char>(0x80 | ((code >> 12) & 0x3F));
    text += static_cast<char>(0x80 | ((code >> 6) & 0x3F));
    text += static_cast<char>(0x80 | (code & 0x3F));
  }
}

bool is_name_character(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

class Lexer {
 public:
  explicit Lexer(std::string source) : source_(std::move(source)) {}

  std::vector<Token> run() {
    while (at_ < source_.size()) {
      const size_t tag = next_tag();
      add_data(tag);
      if (tag == std::string::npos) break;
      advance_to(tag);
      source_[at_ + 1] == '#' ? skip_comment() : read_tag();
    }
    add(Token::Kind::end, "");
    return std::move(tokens_);
  }

 private:
  using Kind = Token::Kind;

  void add(Kind kind, std::string text) { tokens_.push_back({kind, std::move(text), line_}); }

  void advance_to(size_t end) {
    for (; at_ < end; ++at_) line_ += source_[at_] == '\n' ? 1 : 0;
  }

  bool looking_at(std::string_view text) const {
    return std::string_view(source_).substr(at_).starts_with(text);
  }

  size_t next_tag() const {
    for (size_t i = source_.find('{', at_); i != std::string::npos; i = source_.find('{', i + 1)) {
      if (i + 1 < source_.size() &&
          std::string_view("{%#").find(source_[i + 1]) != std::string::npos)
        return i;
    }
    return std::string::npos;
  }

  /// The text up to a tag (npos: to the end), less the whitespace that the tag takes away.
  void add_data(size_t tag) {
    std::string_view text = std::string_view(source_).substr(
        at_, tag == std::string::npos ? std::string::npos : tag - at_);
    if (tag != std::string::npos) {
      const char sign = tag + 2 < source_.size() ? source_[tag + 2] : ' ';
      if (sign == '-') {
        text = text.substr(0, text.find_last_not_of(spaces) + 1);
      } else if (sign != '+' && source_[tag + 1] != '{') {
        const size_t line = text.rfind('\n') + 1;  // 0 without a line break
        const bool only_spaces = text.find_first_not_of(spaces, line) == std::string::npos;
        if ((line > 0 || line_starts_) && only_spaces) text = text.substr(0, line);
      }
    }
    if (!text.empty()) add(Kind::data, std::string(text));
  }

  /// Behind a tag that ends at `at_`: whitespace by a minus sign, one line end by trim_blocks.
  void end_tag(bool minus, bool trims) {
    const size_t first = at_;
    if (minus) {
      const size_t next = source_.find_first_not_of(spaces, at_);
      advance_to(next == std::string::npos ? source_.size() : next);
    } else if (trims && looking_at("\n")) {
      advance_to(at_ + 1);
    }
    line_starts_ = at_ > first && source_[at_ - 1] == '\n';
  }

  void skip_comment() {
    const size_t end = source_.find("#}", at_ + 2);
    if (end == std::string::npos) fail(line_, "a comment has no end");
    const char sign = end > at_ + 2 ? source_[end - 1] : ' ';
    advance_to(end + 2);
    end_tag(sign == '-', sign != '+');
  }

  void read_tag() {
    const bool prints = source_[at_ + 1] == '{';
    const std::string_view close = prints ? "}}" : "%}";
    const size_t first = tokens_.size();
    add(prints ? Kind::print_begin : Kind::block_begin, "");
    advance_to(at_ + 2);
    if (looking_at("-") || looking_at("+")) advance_to(at_ + 1);
    int depth = 0;  // of brackets: in {{ {'a': {}}} } the first }} ends no tag
    while (true) {
      while (at_ < source_.size() && spaces.find(source_[at_]) != std::string_view::npos) {
        advance_to(at_ + 1);
      }
      if (at_ >= source_.size()) fail(line_, "a tag has no end");
      const bool signed_end = (looking_at("-") || looking_at("+")) &&
                              std::string_view(source_).substr(at_ + 1).starts_with(close);
      if (depth == 0 && (signed_end || looking_at(close))) break;
      depth += read_token();
      if (tokens_.size() - first > kLongestTag) fail(line_, "a tag is too long");
    }
    const char sign = source_[at_];
    advance_to(at_ + (sign == '-' || sign == '+' ? 3 : 2));
    add(prints ? Kind::print_end : Kind::block_end, "");
    end_tag(sign == '-', !prints && sign != '+');
  }

  /// Returns by how much brackets are deeper behind it.
  int read_token() {
    const char c = source_[at_];
    if (c == '"' || c == '\'') {
      read_text(c);
    } else if (is_digit(c)) {
      read_number();
    } else if (is_name_character(c)) {
      size_t end = at_;
      while (end < source_.size() && is_name_character(source_[end])) ++end;
      add(Kind::name, source_.substr(at_, end - at_));
      advance_to(end);
    } else {
      return read_sign();
    }
    return 0;
  }

  int read_sign() {
    for (const std::string_view sign : {"==", "!=", "<=", ">=", "//"}) {
      if (!looking_at(sign)) continue;
      add(Kind::sign, std::string(sign));
      advance_to(at_ + 2);
      return 0;
    }
    const char c = source_[at_];
    if (std::string_view("+-*/%~<>()[]{}.,:|=").find(c) == std::string_view::npos) {
      fail(line_, "unexpected character '{}'", c);
    }
    add(Kind::sign, std::string(1, c));
    advance_to(at_ + 1);
    if (std::string_view("([{").find(c) != std::string_view::npos) return 1;
    return std::string_view(")]}").find(c) != std::string_view::npos ? -1 : 0;
  }

  void read_number() {
    size_t end = at_;
    while (end < source_.size() && is_digit(source_[end])) ++end;
    Kind kind = Kind::integer;
    if (end + 1 < source_.size() && source_[end] == '.' && is_digit(source_[end + 1])) {
      kind = Kind::real;
      ++end;
      while (end < source_.size() && is_digit(source_[end])) ++end;
    }
    add(kind, source_.substr(at_, end - at_));
    advance_to(end);
  }

  void read_text(char quote) {
    const int line = line_;
    std::string text;
    size_t i = at_ + 1;
    for (; i < source_.size() && source_[i] != quote; ++i) {
      if (source_[i] == '\\' && i + 1 < source_.size()) {
        i = read_escape(text, i + 1);
      } else {
        text += source_[i];
      }
    }
    if (i >= source_.size()) fail(line, "a text in quotes has no end");
    add(Kind::text, std::move(text));
    advance_to(i + 1);
  }

  /// Python's escapes; `at` is the character behind the backslash. Returns the last one's place.
  size_t read_escape(std::string& text, size_t at) {
    constexpr std::string_view letters = "ntrbfav0\\'\"", meant("\n\t\r\b\f\a\v\0\\'\"", 11);
    const char c = source_[at];
    const size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (digits > 0) {
      uint32_t code = 0;
      const char* const first = source_.data() + at + 1;
      if (at + digits < source_.size() &&
          std::from_chars(first, first + digits, code, 16).ptr == first + digits) {
        append_utf8(text, code);
        return at + digits;
      }
    }
    const size_t known = letters.find(c);
    if (known != std::string_view::npos) {
      text += meant[known];
    } else if (c != '\n') {
      text += '\\';
      text += c;
    }
    return at;
  }

  std::string source_;
  std::vector<Token> tokens_;
  size_t at_ = 0;
  int line_ = 1;
  bool line_starts_ = true;  ///< what follows is at the beginning of a line
};

}  // namespace

std::vector<Token> tokens_of(std::string_view source) { return Lexer(normalized(source)).run(); }

}  // namespace ropesweep::data::jinja
