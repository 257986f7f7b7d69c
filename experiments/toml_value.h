// A TOML document as a plain tree with line numbers, so that only one file knows the parser.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace ropesweep {

struct TomlMember;

struct TomlValue {
  enum class Kind { text, integer, number, boolean, date, array, table };

  Kind kind = Kind::table;
  int64_t line = 1;  ///< where its key stands, or the value itself in an array
  std::string text;
  int64_t integer = 0;
  double number = 0;  ///< integers too
  bool boolean = false;
  std::vector<TomlValue> items;     ///< of an array
  std::vector<TomlMember> members;  ///< of a table, by line

  const TomlValue* find(const std::string& key) const;
};

/// A key of a table with its value.
struct TomlMember {
  std::string key;
  TomlValue value;
};

/// What a kind is called in messages: "text", "a whole number", ….
std::string describe(TomlValue::Kind kind);

/// Parses a document. Errors: user error "FILE:LINE: what" where it is no TOML.
TomlValue parse_toml(const std::string& text, const std::string& file);

}  // namespace ropesweep
