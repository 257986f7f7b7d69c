// The keys of one config.json, checked as they are read; errors name the file and the key.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>

#include "experiments/error.h"

namespace ropesweep::llama {

class ConfigKeys {
 public:
  /// `config` must outlive it.
  ConfigKeys(const nlohmann::json& config, std::string file)
      : config_(config), file_(std::move(file)) {}

  const nlohmann::json& all() const { return config_; }
  const std::string& file() const { return file_; }

  bool has(const char* key) const { return config_.contains(key) && !config_[key].is_null(); }

  int64_t count(const char* key) const {
    if (!has(key)) throw_user_error("{}: {} is missing", file_, key);
    const nlohmann::json& value = config_[key];
    const int64_t most = greatest(key);
    if (!value.is_number_integer() || value.get<int64_t>() < 1 || value.get<int64_t>() > most) {
      throw_user_error("{}: {} must be a positive integer, up to {}, not {}", file_, key, most,
                       value.dump());
    }
    return value.get<int64_t>();
  }

  /// A number of layers is memory for their weights' names before any weight is seen.
  int64_t layers() const {
    constexpr int64_t most = 10'000;
    const int64_t value = count("num_hidden_layers");
    if (value > most) {
      throw_user_error("{}: num_hidden_layers {}: more than {}, which no model has", file_, value,
                       most);
    }
    return value;
  }

  int64_t count(const char* key, int64_t otherwise) const {
    return has(key) ? count(key) : otherwise;
  }

  double number(const char* key, double otherwise) const {
    if (!has(key)) return otherwise;
    const nlohmann::json& value = config_[key];
    if (!value.is_number() || value.get<double>() < 0) {
      throw_user_error("{}: {} must be a number of at least 0, not {}", file_, key, value.dump());
    }
    return value.get<double>();
  }

  bool flag(const char* key, bool otherwise = false) const {
    if (!has(key)) return otherwise;
    if (!config_[key].is_boolean()) {
      throw_user_error("{}: {} must be true or false, not {}", file_, key, config_[key].dump());
    }
    return config_[key].get<bool>();
  }

  std::string text(std::initializer_list<const char*> names, const std::string& otherwise) const {
    for (const char* key : names) {
      if (!has(key)) continue;
      if (!config_[key].is_string()) throw_user_error("{}: {} must be a text", file_, key);
      return config_[key].get<std::string>();
    }
    return otherwise;
  }

  /// An id, or the first of a list of ids; −1 when there is none.
  int64_t token_id(const char* key) const {
    if (!has(key)) return -1;
    const nlohmann::json& value = config_[key];
    if (value.is_array() && value.empty()) return -1;
    const nlohmann::json& first = value.is_array() ? value.front() : value;
    if (!first.is_number_integer()) {
      throw_user_error("{}: {} must be an integer or a list of them, not {}", file_, key,
                       value.dump());
    }
    return first.get<int64_t>();
  }

 private:
  /// A model's size in bytes fits 64 bits, and lists by layer don't ask for much memory.
  static int64_t greatest(std::string_view key) {
    if (key.starts_with("num_")) return int64_t{1} << 16;  // layers, heads
    if (key == "hidden_size" || key == "intermediate_size") return int64_t{1} << 20;
    return key == "vocab_size" ? int64_t{1} << 24 : int64_t{1} << 31;
  }

  const nlohmann::json& config_;
  std::string file_;
};

}  // namespace ropesweep::llama
