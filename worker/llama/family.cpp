// Reads a family from config.json, and writes its keys back. Defaults are transformers'.
#include "worker/llama/family.h"

#include <algorithm>
#include <array>
#include <cmath>

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
    KnownFamily{"qwen2", "Qwen2ForCausalLM"}, KnownFamily{"gpt_neox", "GPTNeoXForCausalLM"}};
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
        "LlamaForCausalLM (llama), MistralForCausalLM (mistral), Qwen2ForCausalLM (qwen2) and "
        "GPTNeoXForCausalLM (gpt_neox)",
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

/// The window of Qwen2's layers from max_window_layers on, which must be all or none.
int64_t qwen2_window(const ConfigKeys& keys) {
  if (!keys.flag("use_sliding_window")) return 0;
  const int64_t layers = keys.count("num_hidden_layers");
  int64_t windowed = 0;
  if (keys.has("layer_types") && keys.all()["layer_types"].is_array()) {
    const json& types = keys.all()["layer_types"];
    windowed = std::count(types.begin(), types.end(), json("sliding_attention"));
  } else {
    const bool from_the_first = keys.all().value("max_window_layers", json(28)) == json(0);
    windowed = from_the_first ? layers
                              : std::max<int64_t>(0, layers - keys.count("max_window_layers", 28));
  }
  if (windowed != 0 && windowed < layers) {
    throw_user_error(
        "{}: use_sliding_window: {} of {} layers have a window (max_window_layers, layer_types); "
        "only the same for all layers is known here",
        keys.file(), windowed, layers);
  }
  return windowed == 0 ? 0 : sliding_window(keys);
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

/// The share of a head that rotates, in whichever era's key it stands.
double rotary_share(const ConfigKeys& keys) {
  for (const char* name : {"rope_parameters", "rope_scaling"}) {
    const auto found = keys.all().find(name);
    if (found == keys.all().end() || !found->is_object()) continue;
    const ConfigKeys inner(*found, keys.file());
    if (inner.has("partial_rotary_factor")) return inner.number("partial_rotary_factor", 1);
  }
  return keys.number("partial_rotary_factor", keys.number("rotary_pct", 0.25));
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
  if (model_type == "mistral") family.window = sliding_window(keys);
  if (model_type == "qwen2") {
    family.query_key_value_bias = true;
    family.window = qwen2_window(keys);
  }
  family.model_type = model_type;
  return family;
}

int64_t rotary_dims(const ConfigKeys& keys, const Family& family, int64_t head_dim) {
  if (family.naming != Naming::gpt_neox) return head_dim;
  const double share = rotary_share(keys);
  const auto dims = static_cast<int64_t>(static_cast<double>(head_dim) * share);
  if (share > 1 || dims < 4 || dims % 2 != 0) {
    throw_user_error(
        "{}: rotary_pct: {} of {} dimensions is {}; it must be even and from 4 to the whole head",
        keys.file(), share, head_dim, dims);
  }
  return dims;
}

json rope_keys_without_share(const json& config, const Family& family) {
  json plain = config;
  if (family.naming != Naming::gpt_neox) return plain;
  for (const char* name : {"partial_rotary_factor", "rotary_pct"}) plain.erase(name);
  for (const char* name : {"rope_parameters", "rope_scaling"}) {
    if (plain.contains(name) && plain[name].is_object()) plain[name].erase("partial_rotary_factor");
  }
  if (plain.contains("rotary_emb_base")) plain["rope_theta"] = plain["rotary_emb_base"];
  return plain;
}

void write_family_keys(json& written, const Config& config) {
  const Family& family = config.family;
  const KnownFamily* const known = find_family(family.model_type);
  written["architectures"] = {known->architecture};
  written["model_type"] = family.model_type;
  if (family.naming != Naming::gpt_neox) return;
  written.erase("num_key_value_heads");
  written.erase("head_dim");
  // The share is multiplied by the head's dimensions and truncated when it is read.
  const auto dims = static_cast<double>(config.rotary.head_dim);
  const auto head_dim = static_cast<double>(config.head_dim);
  double share = dims / head_dim;
  if (head_dim * share < dims) share = std::nextafter(share, 2.0);
  written["rotary_pct"] = share;
  written["rotary_emb_base"] = config.rotary.base;
  for (const char* name : {"rope_parameters", "rope_scaling"}) {
    if (written.contains(name) && written[name].is_object()) {
      written[name]["partial_rotary_factor"] = share;
    }
  }
}

}  // namespace ropesweep::llama
