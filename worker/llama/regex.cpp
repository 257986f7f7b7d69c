// PCRE2 10 in UTF mode; patterns are compiled once and run by its JIT.
#define PCRE2_CODE_UNIT_WIDTH 8
#include "worker/llama/regex.h"

#include <pcre2.h>

#include <array>
#include <stdexcept>

#include "experiments/error.h"

namespace ropesweep::llama {
namespace {

constexpr std::string_view white_space_members =
    R"(\x09-\x0d\x20\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
constexpr size_t jit_stack_start = size_t{32} << 10, jit_stack_limit = size_t{16} << 20;

std::string pcre2_message(int code) {
  std::array<PCRE2_UCHAR, 256> buffer{};
  pcre2_get_error_message(code, buffer.data(), buffer.size());
  return reinterpret_cast<const char*>(buffer.data());
}

/// What `\s` and `\S` become. Within a class `\S` has no spelling by members and stays PCRE2's.
std::string white_space_text(char letter, bool in_class) {
  if (letter == 's') {
    return in_class ? std::string(white_space_members) : fmt::format("[{}]", white_space_members);
  }
  return in_class ? "\\S" : fmt::format("[^{}]", white_space_members);
}

}  // namespace

std::string to_pcre2_pattern(std::string_view pattern) {
  std::string result;
  bool in_class = false;
  for (size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c == '\\' && i + 1 < pattern.size()) {
      const char letter = pattern[++i];
      if (letter == 'h' || letter == 'H') {
        throw std::invalid_argument("\\h is a hexadecimal digit to Oniguruma: write [0-9a-fA-F]");
      }
      const bool space = letter == 's' || letter == 'S';
      result += space ? white_space_text(letter, in_class) : std::string{c, letter};
      continue;
    }
    if (c == '[') in_class = true;
    if (c == ']') in_class = false;
    result += c;
  }
  return result;
}

struct Regex::Code {
  pcre2_code* code = nullptr;
  ~Code() { pcre2_code_free(code); }
};

struct Regex::Search::State {
  const pcre2_code* code = nullptr;
  pcre2_match_data* data = nullptr;
  pcre2_match_context* context = nullptr;
  pcre2_jit_stack* stack = nullptr;
  ~State() {
    pcre2_match_data_free(data);
    pcre2_match_context_free(context);
    pcre2_jit_stack_free(stack);
  }
};

Regex::Regex(const std::string& pattern, bool literal) : code_(std::make_unique<Code>()) {
  int error = 0;
  PCRE2_SIZE place = 0;
  const std::string text = literal ? pattern : to_pcre2_pattern(pattern);
  // \C, a single byte, would cut characters in two.
  const uint32_t options = literal
                               ? PCRE2_UTF | PCRE2_LITERAL
                               : PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C;
  code_->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), options,
                              &error, &place, nullptr);
  if (code_->code == nullptr) {
    throw std::invalid_argument(fmt::format("not a regular expression: {} near '{}'",
                                            pcre2_message(error), text.substr(place)));
  }
  // Without a JIT (an unknown processor) pcre2_match interprets: slower, the same result.
  pcre2_jit_compile(code_->code, PCRE2_JIT_COMPLETE);
}

Regex::~Regex() = default;
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;

Regex::Search::Search(const Regex& regex) : state_(std::make_unique<State>()) {
  state_->code = regex.code_->code;
  state_->data = pcre2_match_data_create_from_pattern(state_->code, nullptr);
  state_->context = pcre2_match_context_create(nullptr);
  state_->stack = pcre2_jit_stack_create(jit_stack_start, jit_stack_limit, nullptr);
  if (state_->data == nullptr || state_->context == nullptr) throw std::bad_alloc();
  pcre2_jit_stack_assign(state_->context, nullptr, state_->stack);
}

Regex::Search::~Search() = default;

bool Regex::Search::find(std::string_view text, size_t from, size_t& start, size_t& end) {
  const int count =
      pcre2_match(state_->code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), from,
                  PCRE2_NO_UTF_CHECK, state_->data, state_->context);
  if (count == PCRE2_ERROR_NOMATCH) return false;
  if (count < 0) {
    throw_user_error("the tokenizer's regular expression failed on this text: {}",
                     pcre2_message(count));
  }
  const PCRE2_SIZE* range = pcre2_get_ovector_pointer(state_->data);
  start = range[0];
  end = range[1];
  if (start < from || start > end) {
    throw_user_error("the tokenizer's regular expression moves a match's start (\\K) out of it");
  }
  return true;
}

}  // namespace ropesweep::llama
