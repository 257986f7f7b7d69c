// What Python's operators do to values, texts being sequences of code points.
#include <algorithm>
#include <cmath>

#include "worker/data/jinja_syntax.h"

namespace ropesweep::data::jinja {
namespace {

/// The code points of a text, each as UTF-8.
std::vector<std::string_view> characters(std::string_view text) {
  std::vector<std::string_view> all;
  size_t begin = 0;
  for (size_t at = 1; at <= text.size(); ++at) {
    const bool continues =
        at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80;
    if (continues) continue;
    all.push_back(text.substr(begin, at - begin));
    begin = at;
  }
  return all;
}

[[noreturn]] void do_not_fit(const std::string& sign, const Value& left, const Value& right,
                             int line) {
  fail(line, "{} doesn't fit {} and {}", sign, left.kind(), right.kind());
}

/// Both whole numbers: false where the result doesn't fit.
bool whole_arithmetic(const std::string& sign, int64_t left, int64_t right, int64_t& result) {
  if (sign == "+") return !__builtin_add_overflow(left, right, &result);
  if (sign == "-") return !__builtin_sub_overflow(left, right, &result);
  if (sign == "*") return !__builtin_mul_overflow(left, right, &result);
  if (right == 0 || (right == -1 && left == INT64_MIN)) return false;
  // Python rounds down, and a remainder has the divisor's sign.
  const int64_t quotient = left / right, rest = left % right;
  const bool down = rest != 0 && (rest < 0) != (right < 0);
  result = sign == "//" ? quotient - (down ? 1 : 0) : rest + (down ? right : 0);
  return true;
}

bool contains(const Value& collection, const Value& item, int line) {
  if (collection.text() != nullptr && item.text() != nullptr) {
    return collection.text()->find(*item.text()) != std::string::npos;
  }
  if (collection.map() != nullptr) {
    return item.text() != nullptr && collection.find(*item.text()) != nullptr;
  }
  if (collection.list() == nullptr) fail(line, "in doesn't fit {}", collection.kind());
  return std::find(collection.list()->begin(), collection.list()->end(), item) !=
         collection.list()->end();
}

}  // namespace

Value binary(const std::string& sign, const Value& left, const Value& right, int line) {
  // Doubled in a loop, a value would take any memory.
  const auto joined_text = [line](const std::string& first, const std::string& second) {
    check_length(first.size() + second.size(), line);
    return first + second;
  };
  if (sign == "~") return joined_text(left.str(), right.str());
  if (sign == "+" && left.text() != nullptr && right.text() != nullptr) {
    return joined_text(*left.text(), *right.text());
  }
  if (sign == "+" && left.list() != nullptr && right.list() != nullptr) {
    check_length(sizeof(Value) * (left.list()->size() + right.list()->size()), line);
    List joined = *left.list();
    joined.insert(joined.end(), right.list()->begin(), right.list()->end());
    return joined;
  }
  const auto first = left.number(), second = right.number();
  if (!first || !second) do_not_fit(sign, left, right, line);
  if (sign != "/" && left.real() == nullptr && right.real() == nullptr) {
    int64_t result = 0;
    constexpr double past = 0x1p63;  // what the greatest whole number is as a double
    if (std::abs(*first) >= past || std::abs(*second) >= past) do_not_fit(sign, left, right, line);
    if (!whole_arithmetic(sign, static_cast<int64_t>(*first), static_cast<int64_t>(*second),
                          result)) {
      do_not_fit(sign, left, right, line);
    }
    return result;
  }
  if (sign == "+") return *first + *second;
  if (sign == "-") return *first - *second;
  if (sign == "*") return *first * *second;
  if (sign != "/" || *second == 0) do_not_fit(sign, left, right, line);
  return *first / *second;
}

bool compare(const std::string& sign, const Value& left, const Value& right, int line) {
  if (sign == "==") return left == right;
  if (sign == "!=") return !(left == right);
  if (sign == "in" && right.is_undefined()) return false;
  if (sign == "not in" && right.is_undefined()) return true;
  if (sign == "in") return contains(right, left, line);
  if (sign == "not in") return !contains(right, left, line);
  int order = 0;
  if (left.text() != nullptr && right.text() != nullptr) {
    order = left.text()->compare(*right.text());
  } else {
    const auto first = left.number(), second = right.number();
    if (!first || !second) do_not_fit(sign, left, right, line);
    order = *first < *second ? -1 : *first > *second ? 1 : 0;
  }
  if (sign == "<") return order < 0;
  if (sign == "<=") return order <= 0;
  return sign == ">" ? order > 0 : order >= 0;
}

List items_of(const Value& value, int line) {
  List items;
  if (value.is_undefined()) return items;
  if (value.list() != nullptr) return *value.list();
  if (value.map() != nullptr) {
    for (const auto& [key, item] : *value.map()) items.emplace_back(key);
    return items;
  }
  if (value.text() == nullptr) fail(line, "there is nothing to go over in {}", value.kind());
  constexpr size_t bytes_an_item = 64;
  check_length(value.text()->size() * bytes_an_item, line);
  for (const std::string_view character : characters(*value.text())) {
    items.emplace_back(std::string(character));
  }
  return items;
}

int64_t length_of(const Value& value, int line) {
  if (value.list() != nullptr) return static_cast<int64_t>(value.list()->size());
  if (value.text() != nullptr) return static_cast<int64_t>(characters(*value.text()).size());
  return static_cast<int64_t>(items_of(value, line).size());
}

Value item_of(const Value& value, const Value& key, int line) {
  if (value.is_undefined()) fail(line, "an item is wanted of {}", value.kind());
  const bool named = key.text() != nullptr && key.text()->size() <= 64;
  const Value nothing = Undefined{fmt::format(
      "item {}", named || key.integer() != nullptr ? key.str() : "(" + key.kind() + ")")};
  if (value.map() != nullptr) {
    const Value* found = key.text() == nullptr ? nullptr : value.find(*key.text());
    return found == nullptr ? nothing : *found;
  }
  if (key.integer() == nullptr || (value.list() == nullptr && value.text() == nullptr)) {
    return nothing;
  }
  const auto item = [&](const auto& items) -> const auto* {
    const auto count = static_cast<int64_t>(items.size());
    const int64_t at = *key.integer() < 0 ? *key.integer() + count : *key.integer();
    return at < 0 || at >= count ? nullptr : &items[static_cast<size_t>(at)];
  };
  if (value.list() != nullptr) {
    const Value* found = item(*value.list());
    return found == nullptr ? nothing : *found;
  }
  const std::vector<std::string_view> all = characters(*value.text());
  const std::string_view* found = item(all);
  return found == nullptr ? nothing : Value(std::string(*found));
}

Value slice_of(const Value& value, const Value* begin, const Value* end, const Value* step,
               int line) {
  if (value.list() == nullptr && value.text() == nullptr) {
    fail(line, "a slice is wanted of {}", value.kind());
  }
  const auto of_text =
      value.text() != nullptr ? characters(*value.text()) : std::vector<std::string_view>();
  const auto count =
      static_cast<int64_t>(value.list() != nullptr ? value.list()->size() : of_text.size());
  const auto number = [&](const Value* given, int64_t otherwise) {
    if (given == nullptr || given->is_none()) return otherwise;
    if (given->integer() == nullptr) fail(line, "a slice is given by {}", given->kind());
    return std::clamp<int64_t>(*given->integer(), -count - 1, count + 1);
  };
  const int64_t by = number(step, 1);
  if (by == 0) fail(line, "a slice has step 0");
  const auto place = [&](const Value* given, int64_t otherwise) {
    const int64_t at = number(given, otherwise);
    const bool from_end = given != nullptr && !given->is_none() && at < 0;
    return std::clamp<int64_t>(from_end ? at + count : at, by > 0 ? 0 : -1,
                               by > 0 ? count : count - 1);
  };
  const int64_t first = place(begin, by > 0 ? 0 : count - 1);
  const int64_t last = place(end, by > 0 ? count : -1);
  List items;
  std::string text;
  for (int64_t i = first; by > 0 ? i < last : i > last; i += by) {
    const auto at = static_cast<size_t>(i);
    if (value.list() != nullptr) {
      items.push_back((*value.list())[at]);
    } else {
      text += of_text[at];
    }
  }
  return value.list() != nullptr ? Value(std::move(items)) : Value(std::move(text));
}

}  // namespace ropesweep::data::jinja
