// PEFT's adapter directories, read and written.
#include "worker/llama/lora_files.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <nlohmann/json.hpp>

#include "experiments/error.h"
#include "worker/llama/durable_file.h"
#include "worker/llama/lora_pairs.h"
#include "worker/llama/safetensors.h"

namespace ropesweep::llama {
namespace {

namespace fs = std::filesystem;
using backend::Backend;
using backend::Dtype;
using nlohmann::json;

constexpr const char* config_file = adapter_config_file;
constexpr const char* weights_file = "adapter_model.safetensors";

/// alpha_pattern, where its keys are names. PEFT takes them for regular expressions.
json patterns_of(const json& config, const fs::path& directory) {
  const auto found = config.find("alpha_pattern");
  if (found == config.end() || found->is_null()) return json::object();
  const std::string file = (directory / config_file).string();
  if (!found->is_object()) throw_user_error("{}: alpha_pattern must be an object", file);
  for (const auto& [key, value] : found->items()) {
    const bool is_name = std::all_of(key.begin(), key.end(), [](unsigned char letter) {
      return std::isalnum(letter) != 0 || letter == '_' || letter == '.';
    });
    if (!is_name || !value.is_number()) {
      throw_user_error(
          "{}: alpha_pattern: '{}': {} is not supported: only names of modules with numbers are; "
          "merge the adapter with PEFT and name the result",
          file, key, value.dump());
    }
  }
  return *found;
}

/// What changes the product, or weights beside the layers' matrices, in ways that are not ours.
void check_supported(const json& config, const fs::path& directory) {
  const std::string file = (directory / config_file).string();
  const auto refuse = [&](const char* key) {
    throw_user_error("{}: {} {} is not supported; merge the adapter with PEFT and name the result",
                     file, key, config.at(key).dump());
  };
  if (value_of<std::string>(config, directory, "peft_type", "") != "LORA") {
    throw_user_error("{}: peft_type must be LORA", file);
  }
  if (value_of<std::string>(config, directory, "bias", "none") != "none") refuse("bias");
  for (const char* key : {"use_dora", "lora_bias", "fan_in_fan_out", "use_qalora", "use_bdlora"}) {
    if (value_of(config, directory, key, false)) refuse(key);
  }
  for (const char* key : {"modules_to_save", "trainable_token_indices", "layer_replication",
                          "target_parameters", "alora_invocation_tokens"}) {
    if (config.contains(key) && !config[key].is_null() && !config[key].empty()) refuse(key);
  }
}

/// As PEFT counts it: α of the module's pattern, or of all, by its rank.
double scaling_of(const json& config, const fs::path& directory, const std::string& module,
                  int64_t rank) {
  double alpha = value_of(config, directory, "lora_alpha", 8.0);
  int matches = 0;
  const json patterns = patterns_of(config, directory);
  for (const auto& [key, value] : patterns.items()) {
    if (module != key && !module.ends_with("." + key)) continue;
    alpha = value.get<double>();
    if (++matches > 1) {
      throw_user_error("{}: alpha_pattern: more than one key is that of {}",
                       (directory / config_file).string(), module);
    }
  }
  const auto r = static_cast<double>(rank);
  return alpha / (value_of(config, directory, "use_rslora", false) ? std::sqrt(r) : r);
}

json adapter_config(const LoraSettings& settings, const std::string& base, const Config& config) {
  json ranks = json::object(), alphas = json::object();
  const int64_t fused = fused_targets(settings, config.family.naming);
  if (fused > 1) {  // the quotient, and so the sum that is added, stays
    ranks[fused_module] = fused * settings.rank;
    alphas[fused_module] = static_cast<double>(fused) * settings.alpha;
  }
  return {{"peft_type", "LORA"},
          {"task_type", "CAUSAL_LM"},
          {"base_model_name_or_path", base},
          {"r", settings.rank},
          {"lora_alpha", settings.alpha},
          {"lora_dropout", settings.dropout},
          {"target_modules", target_modules(settings, config)},
          {"bias", "none"},
          {"fan_in_fan_out", false},
          {"use_rslora", false},
          {"use_dora", false},
          {"init_lora_weights", true},
          {"inference_mode", true},
          {"modules_to_save", nullptr},
          {"rank_pattern", ranks},
          {"alpha_pattern", alphas}};
}

}  // namespace

LoraWeights load_adapter(Backend& backend, const fs::path& directory, const Config& config) {
  const json settings = read_adapter_config(directory);
  check_supported(settings, directory);
  if (!fs::exists(directory / weights_file)) {
    throw_user_error("{}: no {}; save the adapter with safe_serialization", directory.string(),
                     weights_file);
  }
  const SafetensorsReader reader(directory / weights_file);
  return read_pairs(backend, reader, config, [&](const std::string& module, int64_t rank) {
    return scaling_of(settings, directory, module, rank);
  });
}

Weights load_merged_weights(Backend& backend, const fs::path& directory, const fs::path& given,
                            const Config& config, Dtype type, const WeightParts* parts) {
  std::vector<fs::path> adapters;  // the outermost first
  fs::path place = directory;
  for (; is_adapter(place); place = base_of_adapter(place, given)) {
    if (adapters.size() >= most_adapters) {
      throw_user_error("{}: adapters stand on each other in a circle", directory.string());
    }
    adapters.push_back(place);
  }
  const Weights weights = load_weights(backend, place, config, type, parts);
  const WeightParts whole(backend, config, nullptr);
  for (auto adapter = adapters.rbegin(); adapter != adapters.rend(); ++adapter) {
    merge_lora(backend, weights, load_adapter(backend, *adapter, config),
               parts == nullptr ? whole : *parts);
  }
  return weights;
}

std::vector<std::string> write_adapter(Backend& backend, const fs::path& folder,
                                       const LoraWeights& lora, const LoraSettings& settings,
                                       const std::string& base, const Config& config) {
  write_pairs(backend, folder / weights_file, lora, config);
  write_synced(folder / config_file, adapter_config(settings, base, config).dump(2) + "\n");
  return {weights_file, config_file};
}

}  // namespace ropesweep::llama
