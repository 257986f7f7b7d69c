// JSON text from files of others. The parser itself needs no stack, but copying, comparing and
// writing a value do, level by level: what nests deeper than any of our files is refused before.
#pragma once

#include <istream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace ropesweep {

inline constexpr int kDeepestJson = 200;

/// Whether brackets outside of strings nest deeper than kDeepestJson.
inline bool json_nests_too_deep(std::string_view text) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kDeepestJson) return true;
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return false;
}

/// Errors: nlohmann::json::parse_error, for nesting too deep as well.
inline nlohmann::json parse_json(std::string_view text) {
  if (json_nests_too_deep(text)) {
    throw nlohmann::json::parse_error::create(
        101, size_t{0}, "nested deeper than " + std::to_string(kDeepestJson) + " levels", nullptr);
  }
  return nlohmann::json::parse(text.begin(), text.end());
}

/// The rest of a stream.
inline nlohmann::json parse_json(std::istream& stream) {
  return parse_json(std::string(std::istreambuf_iterator<char>(stream), {}));
}

}  // namespace ropesweep
