// Directories that hold an adapter instead of weights: where the weights are that it belongs over.
// What the adapter itself holds: lora_files.h.
#pragma once

#include <filesystem>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string>

#include "experiments/error.h"

namespace ropesweep::llama {

inline constexpr const char* adapter_config_file = "adapter_config.json";
/// Adapters upon adapters; more are a circle.
inline constexpr int most_adapters = 64;

/// DIR/adapter_config.json. Errors: user error when it can't be read or is no JSON object.
nlohmann::json read_adapter_config(const std::filesystem::path& directory);

/// A key's value, or `absent` where it is missing or null.
template <typename Value>
Value value_of(const nlohmann::json& config, const std::filesystem::path& directory,
               const char* key, Value absent) {
  const auto found = config.find(key);
  if (found == config.end() || found->is_null()) return absent;
  try {
    return found->get<Value>();
  } catch (const nlohmann::json::exception&) {
    throw_user_error("{}: {}: {} is no such value", (directory / adapter_config_file).string(), key,
                     found->dump());
  }
}

/// Whether a directory holds an adapter and no weights of its own.
bool is_adapter(const std::filesystem::path& directory);

/// Where the weights are that an adapter belongs over: its base_model_name_or_path (a relative one
/// is looked for beside the adapter first), or else `given` when that is not empty. Errors: user
/// error when neither is a directory, or adapters stand on each other in a circle.
std::filesystem::path base_of_adapter(const std::filesystem::path& directory,
                                      const std::filesystem::path& given = {});

/// The directory itself when it has one of `files` or is no adapter; else its base's that has.
std::filesystem::path directory_with(std::initializer_list<const char*> files,
                                     const std::filesystem::path& directory);

}  // namespace ropesweep::llama
