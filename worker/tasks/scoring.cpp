// Scoring of generated text: integers for lines and passkey, presence for questions.
#include "worker/tasks/scoring.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

namespace ropesweep::tasks {

namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

bool is_space(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v';
}

std::string without_leading_zeros(std::string_view digits) {
  const size_t first = std::min(digits.find_first_not_of('0'), digits.size() - 1);
  return std::string(digits.substr(first));
}

/// The code point that starts at `at`; U+FFFD for bytes that are no UTF-8.
char32_t code_point_at(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u;
  };
  const char32_t lead = byte(at);
  if (lead < 0x80) return lead;
  const int more = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : lead >= 0xC0 ? 1 : 0;
  if (more == 0) return 0xFFFD;
  char32_t code = lead & (0x3Fu >> more);
  for (int i = 1; i <= more; ++i) {
    const char32_t next = byte(at + static_cast<size_t>(i));
    if ((next & 0xC0u) != 0x80) return 0xFFFD;
    code = (code << 6) | (next & 0x3Fu);
  }
  return code;
}

/// Where the code point that ends just before `end` starts.
size_t start_before(std::string_view text, size_t end) {
  size_t at = end - 1;
  while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0u) == 0x80 && end - at < 4) --at;
  return at;
}

/// Letters, digits, underscore. Past ASCII all is a letter but the blocks of punctuation and
/// symbols.
bool is_word_character(char32_t c) {
  if (c < 0x80) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
  }
  if (c <= 0xBF) return c == 0xAA || c == 0xB5 || c == 0xBA;  // Latin-1: signs but ª µ º
  if (c == 0xD7 || c == 0xF7) return false;                   // × ÷
  if (c >= 0x2000 && c <= 0x206F) return false;               // general punctuation: dashes, quotes
  if (c >= 0x20A0 && c <= 0x20CF) return false;               // currency
  if (c >= 0x2190 && c <= 0x2BFF) return false;               // arrows, mathematics, shapes
  if (c >= 0x3000 && c <= 0x303F) return false;               // CJK punctuation
  return c != 0xFFFD;
}

struct Boundaries {
  bool before = false, after = false;
  bool closed = false;  ///< a whole character stands after it, so that more text changes nothing
};

Boundaries boundaries_of(std::string_view text, size_t at, size_t length) {
  const size_t end = at + length;
  const char32_t first = code_point_at(text, at);
  const char32_t last = code_point_at(text, start_before(text, end));
  Boundaries found;
  found.before = at == 0 || !is_word_character(first) ||
                 !is_word_character(code_point_at(text, start_before(text, at)));
  found.after = end == text.size() || !is_word_character(last) ||
                !is_word_character(code_point_at(text, end));
  // A cut character decodes as U+FFFD and may become a letter: only ASCII is sure.
  found.closed = !is_word_character(last) ||
                 (end < text.size() && static_cast<unsigned char>(text[end]) < 0x80);
  return found;
}

}  // namespace

std::optional<std::string> first_integer(std::string_view text) {
  const auto begin = std::find_if(text.begin(), text.end(), is_digit);
  if (begin == text.end()) return std::nullopt;
  const auto end = std::find_if_not(begin, text.end(), is_digit);
  return without_leading_zeros(std::string_view(begin, end));
}

std::optional<std::string> last_integer(std::string_view text) {
  const auto end = std::find_if(text.rbegin(), text.rend(), is_digit);
  if (end == text.rend()) return std::nullopt;
  const auto begin = std::find_if_not(end, text.rend(), is_digit);
  return without_leading_zeros(std::string_view(begin.base(), end.base()));
}

std::string_view stripped(std::string_view text) {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

bool is_present(std::string_view text, std::string_view reference) {
  reference = stripped(reference);
  return !reference.empty() && text.find(reference) != std::string_view::npos;
}

bool is_present_as_word(std::string_view text, std::string_view reference) {
  reference = stripped(reference);
  if (reference.empty()) return false;
  for (size_t at = text.find(reference); at != std::string_view::npos;
       at = text.find(reference, at + 1)) {
    const Boundaries found = boundaries_of(text, at, reference.size());
    if (found.before && found.after) return true;
  }
  return false;
}

Score score_text(const DatasetSettings& settings, std::string_view text,
                 std::string_view reference) {
  if (settings.kind == "wikiqa") {
    return {is_present(text, reference), is_present_as_word(text, reference)};
  }
  const bool last = settings.kind == "lines" && settings.which == "last";
  const auto given = last ? last_integer(text) : first_integer(text);
  const auto expected = first_integer(reference);
  const bool hit = given.has_value() && expected.has_value() && *given == *expected;
  return {hit, hit};
}

bool is_decided(const DatasetSettings& settings, std::string_view text,
                std::string_view reference) {
  if (settings.kind == "wikiqa") {
    reference = stripped(reference);
    if (reference.empty()) return true;
    for (size_t at = text.find(reference); at != std::string_view::npos;
         at = text.find(reference, at + 1)) {
      const Boundaries found = boundaries_of(text, at, reference.size());
      if (found.before && found.after && found.closed) return true;
    }
    return false;
  }
  if (settings.kind == "lines" && settings.which == "last") return false;
  const auto begin = std::find_if(text.begin(), text.end(), is_digit);
  return std::find_if_not(begin, text.end(), is_digit) != text.end();
}

std::string location_bin(const std::string& location) {
  char* end = nullptr;
  const double depth = std::strtod(location.c_str(), &end);
  if (location.empty() || *end != '\0' || !(depth >= 0) || depth > 1) return location;
  const int tenth = std::min(9, static_cast<int>(std::floor(depth * 10 + 1e-9)));
  return fmt::format("0.{}", tenth);
}

}  // namespace ropesweep::tasks
