// Filters, tests and methods, those that chat templates use.
#include <algorithm>
#include <charconv>
#include <functional>
#include <map>

#include "worker/data/jinja_syntax.h"
#include "worker/data/python_text.h"

namespace ropesweep::data::jinja {
namespace {

const std::string& text_of(const Value& value, const std::string& user, int line) {
  if (value.text() == nullptr) fail(line, "{} doesn't fit {}", user, value.kind());
  return *value.text();
}

/// strip, lstrip and rstrip: `sides` 1 left, 2 right, 3 both.
std::string strip(std::string_view text, const Given& given, int sides, int line) {
  const Value* of = given.get(0, "chars");
  const bool of_spaces = of == nullptr || of->is_none();
  const std::string of_these = of_spaces ? "" : text_of(*of, "strip", line);
  if ((sides & 1) != 0) {
    text.remove_prefix(of_spaces ? text.size() - trailing_space(text) - python_stripped(text).size()
                                 : std::min(text.find_first_not_of(of_these), text.size()));
  }
  if ((sides & 2) != 0) {
    text = text.substr(
        0, of_spaces ? text.size() - trailing_space(text) : text.find_last_not_of(of_these) + 1);
  }
  return std::string(text);
}

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

/// ASCII's letters in the case wanted; a text with others is refused, since Python knows their
/// cases.
std::string cased(const std::string& text, const std::string& how, int line) {
  std::string result;
  bool starts = true;
  for (const char c : text) {
    if ((static_cast<unsigned char>(c) & 0x80) != 0) {
      fail(line, "{}: only ASCII's letters have cases here: '{}'", how, text);
    }
    const bool upper = how == "upper" || (starts && how != "lower");
    const char letter = is_letter(c) ? static_cast<char>(upper ? c & ~0x20 : c | 0x20) : c;
    result += letter;
    starts = how == "title" && !is_letter(c);
  }
  return result;
}

std::string replace(const std::string& text, const Given& given, int line) {
  const Value *from = given.get(0, "old"), *to = given.get(1, "new");
  if (from == nullptr || to == nullptr || given.positional.size() > 2) {
    fail(line, "replace takes two texts here");
  }
  const std::string& old_text = text_of(*from, "replace", line);
  if (old_text.empty()) fail(line, "replace: nothing to be replaced");
  const std::string& new_text = text_of(*to, "replace", line);
  if (new_text.size() > old_text.size()) {
    check_length(text.size() / old_text.size() * new_text.size(), line);
  }
  return replaced(text, old_text, new_text);
}

Value pairs(const Value& value, const std::string& user, int line) {
  if (value.map() == nullptr) fail(line, "{} doesn't fit {}", user, value.kind());
  List all;
  for (const auto& [key, item] : *value.map()) all.emplace_back(List{key, item});
  return all;
}

/// `a.b` of an item, for the filters that take an attribute's name.
Value attribute(const Value& item, const std::string& path, int line) {
  const size_t dot = path.find('.');
  const Value found = item_of(item, path.substr(0, dot), line);
  return dot == std::string::npos ? found : attribute(found, path.substr(dot + 1), line);
}

Value join(const Value& value, const Given& given, int line) {
  const Value *between = given.get(0, "d"), *by = given.get(1, "attribute");
  std::string text;
  bool begun = false;
  for (const Value& item : items_of(value, line)) {
    if (begun && between != nullptr) text += between->str();
    text += by == nullptr ? item.str() : attribute(item, text_of(*by, "join", line), line).str();
    check_length(text.size(), line);
    begun = true;
  }
  return text;
}

Value integer(const Value& value) {
  if (value.integer() != nullptr) return value;
  if (value.real() != nullptr) return static_cast<int64_t>(*value.real());
  int64_t number = 0;  // as Jinja does, for what is no number
  if (value.text() != nullptr) {
    std::from_chars(value.text()->data(), value.text()->data() + value.text()->size(), number);
  }
  return number;
}

/// select, reject, selectattr and rejectattr: the items for which a test holds, or doesn't.
Value chosen(const std::string& name, const Value& value, const Given& given, int line) {
  const bool by_attribute = name.ends_with("attr"), wanted = name.starts_with("select");
  const size_t test = by_attribute ? 1 : 0;
  if (given.positional.size() < test) fail(line, "{} takes an attribute's name", name);
  Given of_test;
  for (size_t i = test + 1; i < given.positional.size(); ++i) {
    of_test.positional.push_back(given.positional[i]);
  }
  List kept;
  for (const Value& item : items_of(value, line)) {
    const Value tested =
        by_attribute ? attribute(item, text_of(given.positional[0], name, line), line) : item;
    const bool holds =
        given.positional.size() > test
            ? apply_test(text_of(given.positional[test], name, line), tested, of_test, line)
            : tested.truth();
    if (holds == wanted) kept.push_back(item);
  }
  return kept;
}

Value mapped(const Value& value, const Given& given, int line) {
  const Value* by = given.get(1000, "attribute");
  List results;
  size_t bytes = 0;
  for (const Value& item : items_of(value, line)) {
    if (!results.empty()) check_length(bytes += results.back().extent().bytes, line);
    if (by != nullptr) {
      results.push_back(attribute(item, text_of(*by, "map", line), line));
      continue;
    }
    if (given.positional.empty()) fail(line, "map takes a filter's name or an attribute");
    Given rest{{given.positional.begin() + 1, given.positional.end()}, given.named};
    results.push_back(apply_filter(text_of(given.positional[0], "map", line), item, rest, line));
  }
  return results;
}

Value defaulted(const Value& value, const Given& given) {
  const Value *otherwise = given.get(0, "default_value"), *also_false = given.get(1, "boolean");
  const bool absent =
      value.is_undefined() || (also_false != nullptr && also_false->truth() && !value.truth());
  if (!absent) return value;
  return otherwise == nullptr ? Value("") : *otherwise;
}

Value end_item(const Value& value, bool last, int line) {
  const bool has_places = value.text() != nullptr || value.list() != nullptr;
  const Value items = has_places ? value : Value(items_of(value, line));
  if (!items.truth()) return Undefined{"an item of an empty list"};
  return item_of(items, int64_t{last ? -1 : 0}, line);
}

bool is_number(const Value& value) { return value.integer() != nullptr || value.real() != nullptr; }

Value split(const std::string& text, const Given& given, int line) {
  const Value *by = given.get(0, "sep"), *most = given.get(1, "maxsplit");
  int64_t left = most != nullptr && most->integer() != nullptr ? *most->integer() : -1;
  List parts;
  if (by == nullptr || by->is_none()) {
    if (left >= 0) fail(line, "split: a limit without a separator isn't known");
    std::string_view rest = text;
    for (rest = python_stripped(rest); !rest.empty(); rest = python_stripped(rest)) {
      size_t end = 0;  // the word's: the first place behind which there is a space less
      while (end < rest.size() && trailing_space(rest.substr(0, end + 1)) == 0) ++end;
      parts.emplace_back(std::string(rest.substr(0, end)));
      check_length(parts.size() * 64, line);
      rest.remove_prefix(end);
    }
    return parts;
  }
  const std::string& separator = text_of(*by, "split", line);
  if (separator.empty()) fail(line, "split: the separator is empty");
  size_t at = 0;
  for (size_t next = text.find(separator); next != std::string::npos && left != 0; --left) {
    parts.emplace_back(text.substr(at, next - at));
    check_length(parts.size() * 64, line);
    at = next + separator.size();
    next = text.find(separator, at);
  }
  parts.emplace_back(text.substr(at));
  return parts;
}

/// startswith and endswith, of a text or a tuple of texts.
bool has_end(const std::string& text, const Given& given, bool first, int line) {
  if (given.positional.size() != 1) fail(line, "startswith and endswith take one text here");
  const Value& wanted = given.positional[0];
  const List all = wanted.list() != nullptr ? *wanted.list() : List{wanted};
  return std::any_of(all.begin(), all.end(), [&](const Value& one) {
    const std::string& end = text_of(one, "startswith or endswith", line);
    return first ? text.starts_with(end) : text.ends_with(end);
  });
}

Value text_method(const std::string& name, const std::string& text, const Given& given, int line) {
  if (name == "strip") return strip(text, given, 3, line);
  if (name == "lstrip") return strip(text, given, 1, line);
  if (name == "rstrip") return strip(text, given, 2, line);
  if (name == "upper" || name == "lower" || name == "title" || name == "capitalize") {
    return cased(text, name, line);
  }
  if (name == "startswith" || name == "endswith") {
    return has_end(text, given, name == "startswith", line);
  }
  if (name == "split") return split(text, given, line);
  if (name == "replace") return replace(text, given, line);
  fail(line, "{}() of a text isn't known", name);
}

}  // namespace

Value call_method(const std::string& name, const Value& value, const Given& given, int line) {
  if (value.text() != nullptr) return text_method(name, *value.text(), given, line);
  if (value.map() == nullptr) fail(line, "{}() of {} isn't known", name, value.kind());
  if (name == "items") return pairs(value, name, line);
  if (name == "keys") return items_of(value, line);
  if (name == "get" && !given.positional.empty()) {
    const Value* found = value.find(text_of(given.positional[0], name, line));
    if (found != nullptr) return *found;
    return given.positional.size() > 1 ? given.positional[1] : Value();
  }
  if (name != "values") fail(line, "{}() of a dictionary isn't known", name);
  List values;
  for (const auto& [key, item] : *value.map()) values.push_back(item);
  return values;
}

Value apply_filter(const std::string& name, const Value& value, const Given& given, int line) {
  if (name == "trim") return strip(value.str(), given, 3, line);
  if (name == "upper" || name == "lower" || name == "title" || name == "capitalize") {
    return cased(value.str(), name, line);
  }
  if (name == "length" || name == "count") return length_of(value, line);
  if (name == "first" || name == "last") return end_item(value, name == "last", line);
  if (name == "join") return join(value, given, line);
  if (name == "list") return items_of(value, line);
  if (name == "string") return value.str();
  if (name == "safe") return value;
  if (name == "int") return integer(value);
  if (name == "default" || name == "d") return defaulted(value, given);
  if (name == "replace") return replace(value.str(), given, line);
  if (name == "items") return value.is_undefined() ? Value(List()) : pairs(value, name, line);
  if (name == "map") return mapped(value, given, line);
  if (name == "select" || name == "reject" || name == "selectattr" || name == "rejectattr") {
    return chosen(name, value, given, line);
  }
  if (name == "reverse") {
    List items = items_of(value, line);
    std::reverse(items.begin(), items.end());
    return items;
  }
  if (name == "tojson") {
    if (!given.positional.empty() || !given.named.empty()) {
      fail(line, "tojson takes no arguments here");
    }
    if (value.is_undefined()) fail(line, "tojson doesn't fit {}", value.kind());
    return value.json();
  }
  fail(line, "the filter {} isn't known", name);
}

bool apply_test(const std::string& name, const Value& value, const Given& given, int line) {
  static const std::map<std::string, std::function<bool(const Value&)>> tests = {
      {"defined", [](const Value& v) { return !v.is_undefined(); }},
      {"undefined", [](const Value& v) { return v.is_undefined(); }},
      {"none", [](const Value& v) { return v.is_none(); }},
      {"string", [](const Value& v) { return v.text() != nullptr; }},
      {"mapping", [](const Value& v) { return v.map() != nullptr; }},
      {"sequence",
       [](const Value& v) {
         return v.list() != nullptr || v.text() != nullptr || v.map() != nullptr ||
                v.is_undefined();
       }},
      {"iterable",
       [](const Value& v) {
         return v.list() != nullptr || v.text() != nullptr || v.map() != nullptr ||
                v.is_undefined();
       }},
      {"number", [](const Value& v) { return is_number(v) || v.boolean() != nullptr; }},
      {"integer", [](const Value& v) { return v.integer() != nullptr; }},
      {"float", [](const Value& v) { return v.real() != nullptr; }},
      {"boolean", [](const Value& v) { return v.boolean() != nullptr; }},
      {"true", [](const Value& v) { return v.boolean() != nullptr && *v.boolean(); }},
      {"false", [](const Value& v) { return v.boolean() != nullptr && !*v.boolean(); }},
      {"callable", [](const Value& v) { return v.macro() != nullptr; }}};
  if (const auto found = tests.find(name); found != tests.end()) return found->second(value);
  static const std::map<std::string, std::string> signs = {
      {"equalto", "=="}, {"eq", "=="}, {"==", "=="}, {"sameas", "=="}, {"ne", "!="},
      {"!=", "!="},      {"in", "in"}, {"lt", "<"},  {"<", "<"},       {"gt", ">"},
      {">", ">"},        {"le", "<="}, {"<=", "<="}, {"ge", ">="},     {">=", ">="}};
  if (const auto sign = signs.find(name); sign != signs.end() && given.positional.size() == 1) {
    return compare(sign->second, value, given.positional[0], line);
  }
  if ((name == "odd" || name == "even") && value.integer() != nullptr) {
    return (*value.integer() % 2 != 0) == (name == "odd");
  }
  fail(line, "the test {} isn't known, or doesn't fit {}", name, value.kind());
}

}  // namespace ropesweep::data::jinja
