// A value in a JSON file that knows its file and its path, so that every error names both.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "experiments/error.h"

namespace ropesweep::llama {

class JsonPlace {
 public:
  JsonPlace(const nlohmann::json& value, std::string file, std::string path = "")
      : value_(value), file_(std::move(file)), path_(std::move(path)) {}

  const nlohmann::json& value() const { return value_; }
  bool is_null() const { return value_.is_null(); }
  bool has(const std::string& key) const {
    return value_.is_object() && value_.contains(key) && !value_.at(key).is_null();
  }

  /// A member (null when absent), an element, and the count of elements of an array.
  JsonPlace at(const std::string& key) const;
  JsonPlace at(size_t index) const;
  size_t size() const;

  /// The value as a type. Errors: user error "FILE: PATH: expected …".
  const std::string& string() const;
  int64_t integer(int64_t least, int64_t most) const;
  bool boolean() const;
  bool boolean_or(const std::string& key, bool fallback) const;
  const nlohmann::json& object() const;

  /// Throws a user error "FILE: PATH: what".
  [[noreturn]] void fail(std::string_view what) const;

 private:
  const nlohmann::json& value_;
  std::string file_, path_;
};

/// Reads and parses a JSON file. Errors: user error naming the file (and the byte where parsing
/// failed).
nlohmann::json read_json_file(const std::filesystem::path& file);

/// The whole of a file. Errors: user error when there is none or it can't be read.
std::string read_whole_file(const std::filesystem::path& file);

}  // namespace ropesweep::llama
