// Reads a family from config.json, and writes its keys back. Defaults are transformers'.
#include "worker/llama/family.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <vector>

#include "worker/llama/config.h"
#include "worker/llama/config_keys.h"

namespace ropesweep::llama {
namespace {

using nlohmann::json;

struct KnownFamily {
  const char* model_type;
  const char* architecture;
};
constexpr std::array known_families = {
    KnownFamily{"llama", "LlamaForCausalLM"}, KnownFamily{"mistral", "MistralForCausalLM"},
    KnownFamily{"ministral", "MinistralForCausalLM"}, KnownFamily{"qwen2", "Qwen2ForCausalLM"},
    KnownFamily{"gpt_neox", "GPTNeoXForCausalLM"}};
constexpr int64_t usual_window = 4096;

const KnownFamily* find_family(const std::string& model_type) {
  const auto found =
      std::find_if(known_families.begin(), known_families.end(),
                   [&](const KnownFamily& known) { return known.model_type == model_type; });
  return found == known_families.end() ? nullptr : found;
}

/// The model_type, which the architecture must agree with.
std::string checked_model_type(const ConfigKeys& keys) {
  const std::string model_type = keys.text({"model_type"}, "llama");
  const KnownFamily* const known = find_family(model_type);
  const json& config = keys.all();
  std::string architecture = known == nullptr ? "" : known->architecture;
  if (keys.has("architectures") && config["architectures"].is_array() &&
      !config["architectures"].empty() && config["architectures"][0].is_string()) {
    architecture = config["architectures"][0].get<std::string>();
  }
  if (known == nullptr || architecture != known->architecture) {
    throw_user_error(
        "{}: architectures: '{}' (model_type '{}') is unknown here; ropesweep runs "
        "LlamaForCausalLM (llama), MistralForCausalLM (mistral), MinistralForCausalLM (ministral), "
        "Qwen2ForCausalLM (qwen2) and GPTNeoXForCausalLM (gpt_neox)",
        keys.file(), architecture, model_type);
  }
  return model_type;
}

void refuse(const ConfigKeys& keys, const char* key, const char* what) {
  if (keys.flag(key)) throw_user_error("{}: {} is true; {}", keys.file(), key, what);
}

/// Of SwiGLU.
void check_silu(const ConfigKeys& keys) {
  const std::string activation = keys.text({"hidden_act"}, "silu");
  if (activation != "silu" && activation != "swish") {
    throw_user_error("{}: hidden_act: '{}' is unknown; only silu is", keys.file(), activation);
  }
}

backend::Gelu gelu_of(const ConfigKeys& keys) {
  const std::string activation = keys.text({"hidden_act"}, "gelu");
  if (activation == "gelu") return backend::Gelu::exact;
  if (activation == "gelu_new" || activation == "gelu_fast" || activation == "gelu_pytorch_tanh") {
    return backend::Gelu::tanh;
  }
  throw_user_error("{}: hidden_act: '{}' is unknown; known: gelu, gelu_new, gelu_fast", keys.file(),
                   activation);
}

/// Null turns it off; without the key transformers has a window.
int64_t sliding_window(const ConfigKeys& keys) {
  return keys.all().contains("sliding_window") && !keys.has("sliding_window")
             ? 0
             : keys.count("sliding_window", usual_window);
}

constexpr const char* windowed_kind = "sliding_attention";
constexpr const char* whole_kind = "full_attention";

/// What layer_types says of each layer: whether it has the window. Nothing without the key.
std::optional<std::vector<bool>> windowed_layers(const ConfigKeys& keys) {
  if (!keys.has("layer_types")) return std::nullopt;
  const json& types = keys.all()["layer_types"];
  const int64_t layers = keys.layers();
  if (!types.is_array() || static_cast<int64_t>(types.size()) != layers) {
    throw_user_error("{}: layer_types must be a list of num_hidden_layers, {}, texts", keys.file(),
                     layers);
  }
  std::vector<bool> windowed;
  for (const json& type : types) {
    if (type != windowed_kind && type != whole_kind) {
      throw_user_error("{}: layer_types: {} is unknown; known: {}, {}", keys.file(), type.dump(),
                       windowed_kind, whole_kind);
    }
    windowed.push_back(type == windowed_kind);
  }
  return windowed;
}

/// Empty where no layer has a window.
std::vector<int64_t> windows_of(const std::vector<bool>& windowed, int64_t window) {
  if (window == 0 || std::find(windowed.begin(), windowed.end(), true) == windowed.end()) return {};
  std::vector<int64_t> windows;
  for (const bool has_window : windowed) windows.push_back(has_window ? window : 0);
  return windows;
}

/// transformers' Mistral does not read layer_types, and its Ministral is the same model that does.
std::vector<int64_t> mistral_windows(const ConfigKeys& keys, bool reads_types) {
  const int64_t window = sliding_window(keys);
  const std::vector<bool> all(static_cast<size_t>(keys.layers()), true);
  const std::vector<bool> windowed = windowed_layers(keys).value_or(all);
  if (!reads_types && windows_of(windowed, window) != windows_of(all, window)) {
    throw_user_error(
        "{}: layer_types: a Mistral gives all layers its sliding_window; write model_type "
        "ministral "
        "and architectures MinistralForCausalLM for windows by layer, or take layer_types out",
        keys.file());
  }
  return windows_of(windowed, window);
}

/// Qwen2 has its window from layer max_window_layers on, or where layer_types says so.
std::vector<int64_t> qwen2_windows(const ConfigKeys& keys) {
  if (!keys.flag("use_sliding_window")) return {};
  const bool from_the_first = keys.all().value("max_window_layers", json(28)) == json(0);
  const int64_t first = from_the_first ? 0 : keys.count("max_window_layers", 28);
  std::vector<bool> windowed;
  for (int64_t layer = 0; layer < keys.layers(); ++layer) {
    windowed.push_back(layer >= first);
  }
  return windows_of(windowed_layers(keys).value_or(windowed), sliding_window(keys));
}

Family gpt_neox(const ConfigKeys& keys) {
  Family family;
  family.naming = Naming::gpt_neox;
  family.layer_norm = true;
  family.gated = false;
  family.gelu = gelu_of(keys);
  family.query_key_value_bias = family.attention_output_bias = keys.flag("attention_bias", true);
  family.mlp_bias = true;
  family.parallel_residual = keys.flag("use_parallel_residual", true);
  return family;
}

/// Whether either era's keys say which share of a head rotates.
bool says_share(const json& config) {
  for (const char* name : {"rope_parameters", "rope_scaling"}) {
    const auto found = config.find(name);
    if (found != config.end() && found->is_object() && found->contains("partial_rotary_factor")) {
      return true;
    }
  }
  const auto is_there = [&](const char* key) {
    return config.contains(key) && !config[key].is_null();
  };
  return is_there("partial_rotary_factor") || is_there("rotary_pct");
}

}  // namespace

Family read_family(const ConfigKeys& keys) {
  const std::string model_type = checked_model_type(keys);
  Family family;
  if (model_type == "gpt_neox") {
    family = gpt_neox(keys);
  } else {
    check_silu(keys);
  }
  if (model_type == "llama") {
    for (const char* key : {"attention_bias", "mlp_bias"}) {
      refuse(keys, key, "only Llamas without biases are known here");
    }
  }
  if (model_type == "mistral" || model_type == "ministral") {
    family.windows = mistral_windows(keys, model_type == "ministral");
  }
  if (model_type == "qwen2") {
    family.query_key_value_bias = true;
    family.windows = qwen2_windows(keys);
  }
  family.model_type = model_type;
  return family;
}

json with_family_defaults(const json& config, const Family& family) {
  json whole = config;
  if (family.naming != Naming::gpt_neox) return whole;
  if (!says_share(config)) whole["rotary_pct"] = 0.25;
  if (config.contains("rotary_emb_base")) whole["rope_theta"] = config["rotary_emb_base"];
  return whole;
}

void write_family_keys(json& written, const Config& config) {
  const Family& family = config.family;
  const KnownFamily* const known = find_family(family.model_type);
  written["architectures"] = {known->architecture};
  written["model_type"] = family.model_type;
  if (family.naming != Naming::gpt_neox) return;
  written.erase("num_key_value_heads");
  written.erase("head_dim");
  // Where nothing is said, readers take a quarter.
  json& parameters = written["rope_parameters"];
  const double share = parameters.value("partial_rotary_factor", 1.0);
  parameters["partial_rotary_factor"] = share;
  written.erase("partial_rotary_factor");
  written["rotary_pct"] = share;
  written["rotary_emb_base"] = parameters["rope_theta"];
  if (written["rope_scaling"].is_object()) {
    written["rope_scaling"]["partial_rotary_factor"] = share;
  }
}

}  // namespace ropesweep::llama
