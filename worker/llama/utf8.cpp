// UTF-8 decoding by the table of well-formed sequences (Unicode 15, table 3-7).
#include "worker/llama/utf8.h"

namespace ropesweep::llama {
namespace {

/// What may follow a lead byte: the sequence's length and the range of its second byte.
struct Lead {
  size_t length = 0;  ///< 0: not a lead byte
  uint8_t second_low = 0x80, second_high = 0xBF;
};

Lead lead_of(uint8_t byte) {
  if (byte < 0x80) return {1};
  if (byte >= 0xC2 && byte <= 0xDF) return {2};
  if (byte == 0xE0) return {3, 0xA0, 0xBF};
  if (byte == 0xED) return {3, 0x80, 0x9F};
  if (byte >= 0xE1 && byte <= 0xEF) return {3};
  if (byte == 0xF0) return {4, 0x90, 0xBF};
  if (byte >= 0xF1 && byte <= 0xF3) return {4};
  if (byte == 0xF4) return {4, 0x80, 0x8F};
  return {};
}

/// Bytes at `at` that begin a well-formed sequence, at least 1 (a maximal subpart when cut short).
size_t well_formed_prefix(std::string_view text, size_t at, const Lead& lead) {
  size_t length = 1;
  for (; length < lead.length && at + length < text.size(); ++length) {
    const auto byte = static_cast<uint8_t>(text[at + length]);
    const uint8_t low = length == 1 ? lead.second_low : uint8_t{0x80};
    const uint8_t high = length == 1 ? lead.second_high : uint8_t{0xBF};
    if (byte < low || byte > high) break;
  }
  return length;
}

}  // namespace

CodePoint code_point_at(std::string_view text, size_t at) {
  const auto first = static_cast<uint8_t>(text[at]);
  if (first < 0x80) return {first, 1};
  const Lead lead = lead_of(first);
  if (lead.length == 0 || well_formed_prefix(text, at, lead) != lead.length) return {};
  char32_t value = first & (0xFFu >> (lead.length + 1));
  for (size_t i = 1; i < lead.length; ++i) {
    value = (value << 6) | (static_cast<uint8_t>(text[at + i]) & 0x3Fu);
  }
  return {value, lead.length};
}

void append_utf8(std::string& text, char32_t code_point) {
  const auto put = [&text](char32_t byte) { text.push_back(static_cast<char>(byte)); };
  if (code_point < 0x80) {
    put(code_point);
  } else if (code_point < 0x800) {
    put(0xC0 | (code_point >> 6));
    put(0x80 | (code_point & 0x3F));
  } else if (code_point < 0x10000) {
    put(0xE0 | (code_point >> 12));
    put(0x80 | ((code_point >> 6) & 0x3F));
    put(0x80 | (code_point & 0x3F));
  } else {
    put(0xF0 | (code_point >> 18));
    put(0x80 | ((code_point >> 12) & 0x3F));
    put(0x80 | ((code_point >> 6) & 0x3F));
    put(0x80 | (code_point & 0x3F));
  }
}

bool is_valid_utf8(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const size_t length = code_point_at(text, at).length;
    if (length == 0) return false;
    at += length;
  }
  return true;
}

std::string replace_invalid_utf8(std::string_view text) {
  std::string valid;
  valid.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const Lead lead = lead_of(static_cast<uint8_t>(text[at]));
    const size_t length = well_formed_prefix(text, at, lead);
    if (length == lead.length) {
      valid.append(text.substr(at, length));
    } else {
      append_utf8(valid, 0xFFFD);
    }
    at += length;
  }
  return valid;
}

bool is_white_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

}  // namespace ropesweep::llama
