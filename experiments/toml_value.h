// A TOML document as a plain tree with line numbers, so that only one file knows the parser.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace ropesweep {

struct TomlValue {
  enum class Kind { text, integer, number, boolean, date, array, table };

  Kind kind = Kind::table;
  int64_t line = 1;  ///< where its key stands, or the value itself in an array
  std::string text;
  int64_t integer = 0;
  double number = 0;  ///< integers too
  bool boolean = false;
  std::vector<TomlValue> items;                            ///< of an array
  std::vector<std::pair<std::string, TomlValue>> members;  ///< of a table, by line

  const TomlValue* find(const std::string& key) const;
};

/// What a kind is called in messages: "text", "a whole number", ….
std::string describe(TomlValue::Kind kind);

/// Parses a document. Errors: user error "FILE:LINE: what" where it is no TOML.
TomlValue parse_toml(const std::string& text, const std::string& file);

}  // namespace ropesweep
