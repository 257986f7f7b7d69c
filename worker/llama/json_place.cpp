// JSON values with file and path: what the tokenizer's readers are written over.
#include "worker/llama/json_place.h"

#include <fstream>
#include <sstream>

#include "experiments/json_text.h"

namespace ropesweep::llama {
namespace {

const nlohmann::json& null_value() {
  static const nlohmann::json value = nullptr;
  return value;
}

}  // namespace

JsonPlace JsonPlace::at(const std::string& key) const {
  if (!value_.is_object()) fail("expected an object");
  const auto found = value_.find(key);
  const std::string path = path_.empty() ? key : path_ + "." + key;
  return {found == value_.end() ? null_value() : *found, file_, path};
}

JsonPlace JsonPlace::at(size_t index) const {
  if (!value_.is_array() || index >= value_.size()) fail("expected a longer array");
  return {value_[index], file_, fmt::format("{}[{}]", path_, index)};
}

size_t JsonPlace::size() const {
  if (!value_.is_array()) fail("expected an array");
  return value_.size();
}

const std::string& JsonPlace::string() const {
  if (!value_.is_string()) fail("expected a string");
  return value_.get_ref<const std::string&>();
}

int64_t JsonPlace::integer(int64_t least, int64_t most) const {
  const bool fits =
      value_.is_number_integer() &&
      (!value_.is_number_unsigned() || value_.get<uint64_t>() <= static_cast<uint64_t>(INT64_MAX));
  const int64_t number = fits ? value_.get<int64_t>() : least;
  if (!fits || number < least || number > most) {
    fail(fmt::format("expected an integer from {} to {}", least, most));
  }
  return number;
}

bool JsonPlace::boolean() const {
  if (!value_.is_boolean()) fail("expected true or false");
  return value_.get<bool>();
}

bool JsonPlace::boolean_or(const std::string& key, bool fallback) const {
  return has(key) ? at(key).boolean() : fallback;
}

const nlohmann::json& JsonPlace::object() const {
  if (!value_.is_object()) fail("expected an object");
  return value_;
}

void JsonPlace::fail(std::string_view what) const {
  if (path_.empty()) throw_user_error("{}: {}", file_, what);
  throw_user_error("{}: {}: {}", file_, path_, what);
}

std::string read_whole_file(const std::filesystem::path& file) {
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(file, ignored)) {
    throw_user_error("{}: no such file", file.string());
  }
  std::ifstream stream(file, std::ios::binary);
  std::ostringstream text;
  text << stream.rdbuf();
  if (!stream || stream.bad()) throw_user_error("{}: can't be read or is empty", file.string());
  return std::move(text).str();
}

nlohmann::json read_json_file(const std::filesystem::path& file) {
  try {
    return parse_json(read_whole_file(file));
  } catch (const nlohmann::json::parse_error& error) {
    throw_user_error("{}: not JSON: at byte {}", file.string(), error.byte);
  } catch (const nlohmann::json::exception& error) {  // 1e999
    throw_user_error("{}: {}", file.string(), error.what());
  }
}

}  // namespace ropesweep::llama
