// JSON of plain structs from one list of their fields: each struct has a function template
// `fields(struct, visitor)` that names every field once; JsonWriter and JsonReader visit it.
// Numbers that JSON lacks are kept: NaN is null, infinities are the texts "inf" and "-inf".
#pragma once

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "experiments/error.h"

namespace ropesweep {

/// A double as JSON, to be read back by `json_to_number`.
inline nlohmann::json number_to_json(double value) {
  if (std::isnan(value)) return nullptr;
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  return value;
}

/// A whole number; get() alone would cut a fraction off, and what a float holds beyond the type is
/// undefined. Errors: a JSON exception for anything else, and for what `Integer` can't hold.
template <typename Integer>
Integer json_to_integer(const nlohmann::json& json) {
  const bool fits = json.is_number_unsigned()
                        ? std::in_range<Integer>(json.get<uint64_t>())
                        : json.is_number_integer() && std::in_range<Integer>(json.get<int64_t>());
  if (!fits) {
    throw nlohmann::json::type_error::create(302, "expected a whole number in its range", &json);
  }
  return json.get<Integer>();
}

inline double json_to_number(const nlohmann::json& json) {
  if (json.is_null()) return std::numeric_limits<double>::quiet_NaN();
  if (json == "inf") return std::numeric_limits<double>::infinity();
  if (json == "-inf") return -std::numeric_limits<double>::infinity();
  return json.get<double>();
}

/// Writes each visited field into an object.
class JsonWriter {
 public:
  explicit JsonWriter(nlohmann::json& json) : json_(json) { json_ = nlohmann::json::object(); }

  template <typename Value>
  void operator()(const char* name, const Value& value) const {
    json_[name] = written(value);
  }

 private:
  template <typename Value>
  static nlohmann::json written(const Value& value) {
    if constexpr (std::is_same_v<Value, double>) {
      return number_to_json(value);
    } else if constexpr (std::is_same_v<Value, std::optional<double>>) {
      return value ? number_to_json(*value) : nlohmann::json(nullptr);
    } else if constexpr (std::is_same_v<Value, std::vector<double>>) {
      nlohmann::json array = nlohmann::json::array();
      for (const double number : value) array.push_back(number_to_json(number));
      return array;
    } else {
      return value;
    }
  }

  nlohmann::json& json_;
};

/// Reads each visited field from an object; an absent field keeps its default.
/// Errors: transient error naming the field when it has another type.
class JsonReader {
 public:
  explicit JsonReader(const nlohmann::json& json) : json_(json) {
    if (!json.is_object()) throw_transient_error("expected a JSON object, found {}", json.dump());
  }

  template <typename Value>
  void operator()(const char* name, Value& value) const {
    const auto found = json_.find(name);
    if (found == json_.end()) return;
    try {
      read(*found, value);
    } catch (const nlohmann::json::exception& error) {
      throw_transient_error("JSON field \"{}\": {}", name, error.what());
    }
  }

 private:
  template <typename Value>
  static void read(const nlohmann::json& json, Value& value) {
    if constexpr (std::is_same_v<Value, double>) {
      value = json_to_number(json);
    } else if constexpr (std::is_same_v<Value, std::optional<double>>) {
      if (json.is_null()) {
        value.reset();
      } else {
        value = json_to_number(json);
      }
    } else if constexpr (std::is_same_v<Value, std::vector<double>>) {
      value.clear();
      for (const nlohmann::json& number : json) value.push_back(json_to_number(number));
    } else if constexpr (std::is_integral_v<Value> && !std::is_same_v<Value, bool>) {
      value = json_to_integer<Value>(json);
    } else if constexpr (std::is_same_v<Value, std::vector<int64_t>>) {
      value.clear();
      for (const nlohmann::json& number : json) value.push_back(json_to_integer<int64_t>(number));
    } else {
      json.get_to(value);
    }
  }

  const nlohmann::json& json_;
};

}  // namespace ropesweep
