// Truth, equality and spelling of values, which are Python's.
#include "worker/data/jinja_value.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "experiments/error.h"

namespace ropesweep::data::jinja {
namespace {

/// repr() of Python for what is a number, 3.0 for 3.
std::string real_text(double value) {
  std::array<char, 32> digits = {};
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
  std::string text(digits.data(), end);
  if (text.find_first_of(".en") == std::string::npos) text += ".0";
  return text;
}

/// A text in quotes, in JSON's spelling or roughly repr()'s of Python.
std::string quoted(std::string_view text, bool as_json) {
  const bool apostrophe = text.find('\'') != std::string_view::npos;
  const char quote =
      as_json || (apostrophe && text.find('"') == std::string_view::npos) ? '"' : '\'';
  std::string result(1, quote);
  for (const char c : text) {
    if (c == quote || c == '\\') {
      result.append({'\\', c});
    } else if (c == '\n') {
      result += "\\n";
    } else if (c == '\t') {
      result += "\\t";
    } else if (c == '\r') {
      result += "\\r";
    } else if (c == '\b' && as_json) {
      result += "\\b";
    } else if (c == '\f' && as_json) {
      result += "\\f";
    } else if (static_cast<unsigned char>(c) < 0x20) {
      const unsigned code = static_cast<unsigned char>(c);
      result += as_json ? fmt::format("\\u{:04x}", code) : fmt::format("\\x{:02x}", code);
    } else {
      result += c;
    }
  }
  return result + quote;
}

void add(Extent& whole, const Value& member) {
  const Extent part = member.extent();
  // Doubled in a loop, a sum would go round.
  whole.bytes = std::min(whole.bytes + sizeof(Value) + part.bytes, SIZE_MAX / 4);
  whole.depth = std::max(whole.depth, part.depth + 1);
  whole.namespaces = whole.namespaces || part.namespaces || member.is_space();
}

Extent extent_of(const Map& map) {
  Extent extent = {.depth = 1};
  for (const auto& [name, value] : map) {
    extent.bytes += sizeof(std::string) + name.size();
    add(extent, value);
  }
  return extent;
}

}  // namespace

Value::Value(List value) {
  Items items = {.list = std::move(value), .extent = {.depth = 1}};
  for (const Value& item : items.list) add(items.extent, item);
  data_ = std::make_shared<const Items>(std::move(items));
}

Value::Value(Map value) {
  const Extent extent = extent_of(value);
  data_ = std::make_shared<Members>(Members{std::move(value), extent});
}

Value Value::space(Map members) {
  Value value(std::move(members));
  std::get<std::shared_ptr<Members>>(value.data_)->space = true;
  return value;
}

std::optional<double> Value::number() const {
  if (boolean() != nullptr) return *boolean() ? 1.0 : 0.0;
  if (integer() != nullptr) return static_cast<double>(*integer());
  if (real() != nullptr) return *real();
  return std::nullopt;
}

const std::string* Value::text() const {
  const auto* held = std::get_if<std::shared_ptr<const std::string>>(&data_);
  return held == nullptr ? nullptr : held->get();
}

const List* Value::list() const {
  const auto* held = std::get_if<std::shared_ptr<const Items>>(&data_);
  return held == nullptr ? nullptr : &(*held)->list;
}

const Map* Value::map() const {
  const auto* held = std::get_if<std::shared_ptr<Members>>(&data_);
  return held == nullptr ? nullptr : &(*held)->map;
}

Extent Value::extent() const {
  if (text() != nullptr) return {.bytes = text()->size()};
  if (const auto* items = std::get_if<std::shared_ptr<const Items>>(&data_)) {
    return (*items)->extent;
  }
  if (const auto* members = std::get_if<std::shared_ptr<Members>>(&data_)) {
    return (*members)->extent;
  }
  return {};
}

bool Value::is_space() const {
  const auto* members = std::get_if<std::shared_ptr<Members>>(&data_);
  return members != nullptr && (*members)->space;
}

void Value::set(const std::string& name, Value value) const {
  Members& members = *std::get<std::shared_ptr<Members>>(data_);
  const auto found = std::find_if(members.map.begin(), members.map.end(),
                                  [&](const auto& member) { return member.first == name; });
  if (found != members.map.end()) {
    found->second = std::move(value);
  } else {
    members.map.emplace_back(name, std::move(value));
  }
  members.extent = extent_of(members.map);
}

const Macro* Value::macro() const {
  const auto* held = std::get_if<const Macro*>(&data_);
  return held == nullptr ? nullptr : *held;
}

const Value* Value::find(std::string_view key) const {
  if (map() == nullptr) return nullptr;
  for (const auto& [name, value] : *map()) {
    if (name == key) return &value;
  }
  return nullptr;
}

bool Value::truth() const {
  if (is_undefined() || is_none()) return false;
  if (const auto as_number = number()) return *as_number != 0;
  if (text() != nullptr) return !text()->empty();
  if (list() != nullptr) return !list()->empty();
  if (map() != nullptr) return !map()->empty();
  return true;
}

std::string Value::written(bool as_json) const {
  if (is_undefined()) return "";
  if (is_none()) return as_json ? "null" : "None";
  if (boolean() != nullptr && as_json) return *boolean() ? "true" : "false";
  if (boolean() != nullptr) return *boolean() ? "True" : "False";
  if (integer() != nullptr) return std::to_string(*integer());
  if (real() != nullptr) return real_text(*real());
  if (text() != nullptr) return quoted(*text(), as_json);
  if (macro() != nullptr) return "<macro>";
  return members(as_json);
}

std::string Value::members(bool as_json) const {
  std::string result = list() != nullptr ? "[" : "{";
  const auto begin = [&] {
    if (result.size() > 1) result += ", ";
  };
  if (list() != nullptr) {
    for (const Value& item : *list()) {
      begin();
      result += item.written(as_json);
    }
    return result + "]";
  }
  for (const auto& [key, value] : *map()) {
    begin();
    result += quoted(key, as_json) + ": " + value.written(as_json);
  }
  return result + "}";
}

std::string Value::str() const { return text() != nullptr ? *text() : written(false); }

std::string Value::json() const { return written(true); }

std::string Value::kind() const {
  if (is_undefined()) {
    return std::get<Undefined>(data_).name + ", which is not defined";
  }
  if (is_none()) return "none";
  if (boolean() != nullptr) return "a boolean";
  if (integer() != nullptr || real() != nullptr) return "a number";
  if (text() != nullptr) return "a text";
  if (list() != nullptr) return "a list";
  return map() != nullptr ? "a dictionary" : "a macro";
}

bool Value::operator==(const Value& other) const {
  const auto own_number = number(), other_number = other.number();
  if (own_number && other_number) return *own_number == *other_number;
  if (data_.index() != other.data_.index()) return false;
  if (text() != nullptr) return *text() == *other.text();
  if (list() != nullptr) return *list() == *other.list();
  if (map() != nullptr) {
    if (map()->size() != other.map()->size()) return false;
    for (const auto& [key, value] : *map()) {
      const Value* same = other.find(key);
      if (same == nullptr || !(*same == value)) return false;
    }
    return true;
  }
  if (macro() != nullptr) return macro() == other.macro();
  return true;  // both none, or both undefined
}

}  // namespace ropesweep::data::jinja
