// Values of the template language of chat templates (jinja.h): Python's None, booleans, numbers,
// texts, lists and dictionaries, and names that stand for nothing.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace ropesweep::data::jinja {

struct Macro;
class Value;

/// A name or item that there is none of; it prints as nothing, and using it otherwise is an error.
struct Undefined {
  std::string name;
};
struct None {};

/// What a list or dictionary takes with all that it holds.
struct Extent {
  size_t bytes = 0;         ///< as if nothing in it were shared
  int depth = 0;            ///< of lists and dictionaries in one another
  bool namespaces = false;  ///< there is a namespace() in it
};

using List = std::vector<Value>;
/// In the order of insertion, as Python keeps it.
using Map = std::vector<std::pair<std::string, Value>>;

class Value {
 public:
  Value() : data_(None{}) {}
  // NOLINTBEGIN(google-explicit-constructor): a template's expressions mix them.
  Value(Undefined value) : data_(std::move(value)) {}
  Value(bool value) : data_(value) {}
  Value(int64_t value) : data_(value) {}
  Value(double value) : data_(value) {}
  Value(std::string value) : data_(std::make_shared<const std::string>(std::move(value))) {}
  Value(const char* value) : Value(std::string(value)) {}
  Value(List value);
  Value(Map value);
  Value(const Macro* value) : data_(value) {}
  // NOLINTEND(google-explicit-constructor)
  /// namespace(): the one kind of dictionary whose members can be set.
  static Value space(Map members);

  bool is_undefined() const { return std::holds_alternative<Undefined>(data_); }
  bool is_none() const { return std::holds_alternative<None>(data_); }
  // Null where the value is of another kind. Texts, lists and maps are shared by the copies of a
  // value.
  const bool* boolean() const { return std::get_if<bool>(&data_); }
  const int64_t* integer() const { return std::get_if<int64_t>(&data_); }
  const double* real() const { return std::get_if<double>(&data_); }
  const std::string* text() const;
  /// A boolean or a number as a number.
  std::optional<double> number() const;
  const List* list() const;
  const Map* map() const;
  const Macro* macro() const;
  /// Of a text its bytes, of a list or dictionary what it was made of; nothing else has one.
  Extent extent() const;
  bool is_space() const;
  /// Sets a member of a namespace().
  void set(const std::string& name, Value value) const;
  /// A map's member, or null.
  const Value* find(std::string_view key) const;

  /// Python's truth: false for nothing, zero and what is empty.
  bool truth() const;
  /// As `{{ value }}` prints it: str() of Python.
  std::string str() const;
  /// As json.dumps(value, ensure_ascii=False) writes it.
  std::string json() const;
  /// What messages call it: "a text", "none", …
  std::string kind() const;
  bool operator==(const Value& other) const;

 private:
  /// A list's or map's members in brackets, in Python's or JSON's spelling.
  std::string members(bool as_json) const;
  std::string written(bool as_json) const;

  struct Items {
    List list;
    Extent extent;
  };
  struct Members {
    Map map;
    Extent extent;
    bool space = false;
  };

  std::variant<Undefined, None, bool, int64_t, double, std::shared_ptr<const std::string>,
               std::shared_ptr<const Items>, std::shared_ptr<Members>, const Macro*>
      data_;
};

}  // namespace ropesweep::data::jinja
