// From toml++'s nodes to our tree.
#include "experiments/toml_value.h"

#include <toml++/toml.h>

#include <algorithm>

#include "experiments/error.h"

namespace ropesweep {
namespace {

TomlValue converted(const toml::node& node, int64_t line);

void convert_table(const toml::table& table, TomlValue& value) {
  for (const auto& [key, member] : table) {
    const int64_t line = static_cast<int64_t>(key.source().begin.line);
    value.members.push_back({std::string(key.str()), converted(member, line)});
  }
  std::stable_sort(value.members.begin(), value.members.end(),
                   [](const auto& a, const auto& b) { return a.value.line < b.value.line; });
}

/// `line` where the node's key stands; 0: the node's own.
TomlValue converted(const toml::node& node, int64_t line) {
  TomlValue value;
  value.line = line > 0 ? line : static_cast<int64_t>(node.source().begin.line);
  if (const auto* table = node.as_table()) {
    convert_table(*table, value);
  } else if (const auto* array = node.as_array()) {
    value.kind = TomlValue::Kind::array;
    for (const toml::node& item : *array) value.items.push_back(converted(item, 0));
  } else if (const auto* text = node.as_string()) {
    value.kind = TomlValue::Kind::text;
    value.text = text->get();
  } else if (const auto* integer = node.as_integer()) {
    value.kind = TomlValue::Kind::integer;
    value.integer = integer->get();
    value.number = static_cast<double>(value.integer);
  } else if (const auto* number = node.as_floating_point()) {
    value.kind = TomlValue::Kind::number;
    value.number = number->get();
  } else if (const auto* boolean = node.as_boolean()) {
    value.kind = TomlValue::Kind::boolean;
    value.boolean = boolean->get();
  } else {
    value.kind = TomlValue::Kind::date;
  }
  return value;
}

}  // namespace

const TomlValue* TomlValue::find(const std::string& key) const {
  for (const auto& [name, member] : members) {
    if (name == key) return &member;
  }
  return nullptr;
}

std::string describe(TomlValue::Kind kind) {
  switch (kind) {
    case TomlValue::Kind::text:
      return "text";
    case TomlValue::Kind::integer:
      return "a whole number";
    case TomlValue::Kind::number:
      return "a number";
    case TomlValue::Kind::boolean:
      return "true or false";
    case TomlValue::Kind::date:
      return "a date or time";
    case TomlValue::Kind::array:
      return "a list";
    case TomlValue::Kind::table:
      return "a table";
  }
  return "a value";
}

TomlValue parse_toml(const std::string& text, const std::string& file) {
  try {
    return converted(toml::parse(text), 1);
  } catch (const toml::parse_error& error) {
    throw_user_error("{}:{}: no valid TOML: {}", file, error.source().begin.line,
                     error.description());
  }
}

}  // namespace ropesweep
