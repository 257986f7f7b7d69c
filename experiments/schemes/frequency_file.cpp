// JSON or plain lines; every number is checked here, their count by the scheme.
#include "experiments/schemes/frequency_file.h"

#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <sstream>

#include "experiments/error.h"
#include "experiments/json_text.h"

namespace ropesweep::schemes {
namespace {

using nlohmann::json;

std::string content_of(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  std::string content{std::istreambuf_iterator<char>(stream), {}};
  if (!stream.is_open() || stream.bad()) {
    throw_user_error("{}: a scheme's file can't be read: {}", path, std::strerror(errno));
  }
  return content;
}

/// Numbers of at least 0; `positive`: above 0.
std::vector<double> numbers_of(const json& list, const std::string& path, const std::string& key,
                               bool positive) {
  if (!list.is_array() || list.empty()) {
    throw_user_error("{}: {} must be a list of numbers", path, key);
  }
  std::vector<double> numbers;
  for (const json& item : list) {
    const double value = item.is_number() ? item.get<double>() : -1;
    if (!std::isfinite(value) || value < 0 || (positive && value == 0)) {
      throw_user_error("{}: {}[{}] must be a number {} 0, not {}", path, key, numbers.size(),
                       positive ? "greater than" : "of at least", item.dump());
    }
    numbers.push_back(value);
  }
  return numbers;
}

FrequencyFile from_json(const json& whole, const std::string& path) {
  FrequencyFile file{.path = path};
  if (whole.is_array()) {
    file.inv_freq = numbers_of(whole, path, "the list", false);
    return file;
  }
  json keys = whole;
  for (const char* nested : {"rope_scaling", "rope_parameters"}) {
    if (whole.contains(nested) && whole[nested].is_object()) keys.update(whole[nested]);
  }
  if (keys.contains("inv_freq")) {
    file.inv_freq = numbers_of(keys["inv_freq"], path, "inv_freq", false);
  }
  if (keys.contains("short_factor")) {
    file.short_factor = numbers_of(keys["short_factor"], path, "short_factor", true);
  }
  if (keys.contains("long_factor")) {
    file.long_factor = numbers_of(keys["long_factor"], path, "long_factor", true);
  }
  if (keys.contains("attention_factor") && !keys["attention_factor"].is_null()) {
    const json& factor = keys["attention_factor"];
    if (!factor.is_number() || !std::isfinite(factor.get<double>()) || factor.get<double>() <= 0) {
      throw_user_error("{}: attention_factor must be a number greater than 0, not {}", path,
                       factor.dump());
    }
    file.attention_factor = factor.get<double>();
  }
  return file;
}

/// One number a line; empty lines count for nothing.
FrequencyFile from_lines(const std::string& content, const std::string& path) {
  FrequencyFile file{.path = path};
  std::istringstream lines(content);
  std::string line;
  for (int64_t number = 1; std::getline(lines, line); ++number) {
    const size_t first = line.find_first_not_of(" \t\r");
    if (first == std::string::npos) continue;
    const char* const begin = line.data() + first;
    const char* const end = line.data() + line.find_last_not_of(" \t\r") + 1;
    double value = 0;
    const auto [stop, error] = std::from_chars(begin, end, value);
    if (error != std::errc() || stop != end || !std::isfinite(value) || value < 0) {
      throw_user_error("{}:{}: must be one frequency of at least 0 (or the file JSON), not \"{}\"",
                       path, number, std::string(begin, end));
    }
    file.inv_freq.push_back(value);
  }
  return file;
}

}  // namespace

FrequencyFile read_frequency_file(const std::string& path) {
  const std::string content = content_of(path);
  const size_t first = content.find_first_not_of(" \t\r\n");
  if (first == std::string::npos) throw_user_error("{}: the file is empty", path);
  if (content[first] != '{' && content[first] != '[') return from_lines(content, path);
  try {
    return from_json(parse_json(content), path);
  } catch (const json::exception& error) {
    throw_user_error("{}: not valid JSON: {}", path, error.what());
  }
}

}  // namespace ropesweep::schemes
