// The chain of directories from an adapter down to the weights.
#include "worker/llama/adapter_directory.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <fstream>

#include "experiments/json_text.h"

namespace ropesweep::llama {

namespace fs = std::filesystem;
using nlohmann::json;

json read_adapter_config(const fs::path& directory) {
  const fs::path file = directory / adapter_config_file;
  std::ifstream stream(file, std::ios::binary);
  if (!stream) throw_user_error("{}: cannot be read", file.string());
  const std::string text(std::istreambuf_iterator<char>(stream), {});
  json config;
  if (!json_nests_too_deep(text)) config = json::parse(text, nullptr, false);
  if (!config.is_object()) throw_user_error("{}: no JSON object", file.string());
  return config;
}

bool is_adapter(const fs::path& directory) {
  return fs::exists(directory / adapter_config_file) &&
         !fs::exists(directory / "model.safetensors") &&
         !fs::exists(directory / "model.safetensors.index.json");
}

fs::path base_of_adapter(const fs::path& directory, const fs::path& given) {
  const json config = read_adapter_config(directory);
  const fs::path own = value_of<std::string>(config, directory, "base_model_name_or_path", "");
  const auto is_model = [&](const fs::path& base) {
    return fs::is_directory(base) && !fs::equivalent(base, directory);
  };
  if (!own.empty()) {
    if (own.is_relative() && is_model(directory / own)) {
      return (directory / own).lexically_normal();
    }
    if (is_model(own)) return fs::absolute(own).lexically_normal();
  }
  if (!given.empty() && is_model(given)) {
    spdlog::warn("{}: its base model '{}' is not here; {} is taken for it", directory.string(),
                 own.string(), given.string());
    return given;
  }
  throw_user_error(
      "{}: base_model_name_or_path '{}' is no directory here; write the base's there (eval and "
      "generate also take --base DIR)",
      (directory / adapter_config_file).string(), own.string());
}

fs::path directory_with(std::initializer_list<const char*> files, const fs::path& directory) {
  fs::path place = directory;
  const auto is_there = [&](const char* file) { return fs::exists(place / file); };
  for (int i = 0; i < most_adapters; ++i) {
    if (std::any_of(files.begin(), files.end(), is_there) || !is_adapter(place)) return place;
    place = base_of_adapter(place);
  }
  throw_user_error("{}: adapters stand on each other in a circle", directory.string());
}

}  // namespace ropesweep::llama
