// What families of models do otherwise than Llama: the choices that config.json's model_type makes.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "worker/backend/ops.h"

namespace ropesweep::llama {

class ConfigKeys;
struct Config;

/// Layouts of a checkpoint: names of tensors, and whether q, k and v are one tensor.
enum class Naming { llama, gpt_neox };

/// As it stands, Llama.
struct Family {
  std::string model_type = "llama";
  Naming naming = Naming::llama;
  bool layer_norm = false;  ///< LayerNorm with a bias; else RMSNorm
  bool gated = true;        ///< down · (silu(gate n) ⊙ up n); else down · gelu(up n)
  backend::Gelu gelu = backend::Gelu::exact;
  bool query_key_value_bias = false;
  bool attention_output_bias = false;
  bool mlp_bias = false;           ///< of up and down
  bool parallel_residual = false;  ///< the MLP reads the layer's input, not attention's result
  int64_t window = 0;              ///< keys that a query sees, its own included; 0: all
};

/// The family that a config names. Errors: user error naming file, key and remedy for an unknown
/// model_type or architecture, an activation that the family has not, a window by layer.
Family read_family(const ConfigKeys& keys);

/// Dimensions of a head that rotate, the first ones: all, or GPT-NeoX's share of them.
int64_t rotary_dims(const ConfigKeys& keys, const Family& family, int64_t head_dim);

/// The config with its rope keys as a Llama would have them over the dimensions that rotate, which
/// is how rope_settings.h reads them.
nlohmann::json rope_keys_without_share(const nlohmann::json& config, const Family& family);

/// Puts the family's own keys of shape and positions into a config whose rope keys
/// write_rope_settings has written.
void write_family_keys(nlohmann::json& written, const Config& config);

}  // namespace ropesweep::llama
