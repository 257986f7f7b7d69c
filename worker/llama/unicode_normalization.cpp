// libutf8proc composes; this finds the parts of a text that need it.
#include "worker/llama/unicode_normalization.h"

#include <stdexcept>

#ifdef ROPESWEEP_UTF8PROC
#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <memory>

#include "worker/llama/utf8.h"
#endif

namespace ropesweep::llama {

#ifdef ROPESWEEP_UTF8PROC
namespace {

/// Marks that Unicode 10 to 15 brought and that are ordered or joined (first, last).
constexpr char32_t later_marks[][2] = {
    {0x07FD, 0x07FD},   {0x0898, 0x089F},   {0x08CA, 0x08D3},   {0x09FE, 0x09FE},
    {0x0C3C, 0x0C3C},   {0x0D3B, 0x0D3C},   {0x0EBA, 0x0EBA},   {0x1715, 0x1715},
    {0x1ABF, 0x1ACE},   {0x1DF6, 0x1DFA},   {0xA82C, 0xA82C},   {0x10D24, 0x10D27},
    {0x10EAB, 0x10EAC}, {0x10EFD, 0x10EFF}, {0x10F46, 0x10F50}, {0x10F82, 0x10F85},
    {0x11070, 0x11070}, {0x1133B, 0x1133B}, {0x1145E, 0x1145E}, {0x11839, 0x1183A},
    {0x11930, 0x11930}, {0x1193D, 0x1193E}, {0x11943, 0x11943}, {0x119E0, 0x119E0},
    {0x11A34, 0x11A34}, {0x11A47, 0x11A47}, {0x11A99, 0x11A99}, {0x11D42, 0x11D42},
    {0x11D44, 0x11D45}, {0x11D97, 0x11D97}, {0x11F41, 0x11F42}, {0x16FF0, 0x16FF1},
    {0x1E08F, 0x1E08F}, {0x1E130, 0x1E136}, {0x1E2AE, 0x1E2AE}, {0x1E2EC, 0x1E2EF},
    {0x1E4EC, 0x1E4EF}};

/// Below U+0300 nothing joins a character before it, whatever that is.
constexpr char32_t first_mark = 0x300;
bool begins_mark(char byte) { return static_cast<unsigned char>(byte) >= 0xCC; }

size_t character_before(std::string_view text, size_t at) {
  do {
    --at;
  } while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80);
  return at;
}

bool is_later_mark(char32_t c) {
  const auto* const range =
      std::partition_point(std::begin(later_marks), std::end(later_marks),
                           [c](const char32_t(&marks)[2]) { return marks[1] < c; });
  return range != std::end(later_marks) && (*range)[0] <= c;
}

void append_composed(std::string_view text, std::string& result) {
  if (text.empty()) return;
  utf8proc_uint8_t* composed = nullptr;
  const utf8proc_ssize_t length =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                   static_cast<utf8proc_ssize_t>(text.size()), &composed,
                   static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  if (length < 0) throw std::bad_alloc();  // the text is valid: nothing else can fail
  const std::unique_ptr<utf8proc_uint8_t, void (*)(void*)> owner(composed, std::free);
  result.append(reinterpret_cast<const char*>(composed), static_cast<size_t>(length));
}

}  // namespace

bool can_compose() { return true; }

std::string compose(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  // A stretch that may change: one character below U+0300, if any, and those above that follow.
  for (size_t done = 0; done < text.size();) {
    const auto* const mark =
        std::find_if(text.begin() + static_cast<std::ptrdiff_t>(done), text.end(), begins_mark);
    size_t end = static_cast<size_t>(mark - text.begin());
    const size_t begin = end > done && end < text.size() ? character_before(text, end) : end;
    result.append(text.substr(done, begin - done));
    const auto mark_at = [&](size_t at) { return code_point_at(text, at); };
    while (end < text.size() && mark_at(end).value >= first_mark &&
           !is_later_mark(mark_at(end).value)) {
      end += mark_at(end).length;
    }
    append_composed(text.substr(begin, end - begin), result);
    done = end;
    if (done < text.size() && is_later_mark(mark_at(done).value)) {
      result.append(text.substr(done, mark_at(done).length));
      done += mark_at(done).length;
    }
  }
  return result;
}
#else
bool can_compose() { return false; }

std::string compose(std::string_view) {
  throw std::logic_error("compose: this build has no libutf8proc");
}
#endif

}  // namespace ropesweep::llama
