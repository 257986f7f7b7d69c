// A Llama's shape, or a relative's (family.h), as Hugging Face's config.json gives it (both the v4
// and the v5 era).
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "experiments/position_encoding.h"
#include "experiments/task.h"
#include "worker/llama/family.h"

namespace ropesweep::llama {

struct Config {
  Family family;                     ///< model_type and what depends on it
  int64_t layers = 0;                ///< num_hidden_layers
  int64_t width = 0;                 ///< hidden_size, D
  int64_t hidden = 0;                ///< intermediate_size, F
  int64_t heads = 0;                 ///< num_attention_heads, H
  int64_t kv_heads = 0;              ///< num_key_value_heads, G
  int64_t head_dim = 0;              ///< head_dim, or D / H; even, 32 to 256
  int64_t vocabulary = 0;            ///< vocab_size, V
  bool tied = false;                 ///< tie_word_embeddings
  float norm_epsilon = 1e-5f;        ///< rms_norm_eps or layer_norm_eps
  double initializer_range = 0.02;   ///< deviation of fresh weights; 0: 1/√fan-in
  int64_t max_positions = 0;         ///< max_position_embeddings
  RotaryShape rotary;                ///< dimensions that rotate, base, original length, own factors
  std::string own_scheme = "none";   ///< the checkpoint's own positions as a scheme call …
  double own_scale = 1;              ///< … and its scale
  int64_t bos_id = -1, eos_id = -1;  ///< -1: none (the first of a list)
  std::string type = "f32";          ///< torch_dtype / dtype: f32 | bf16 | f16
  nlohmann::json source;             ///< the whole file, for export

  /// Extents of the weight that positions bring with them (position_table_shape); none: no weight.
  std::vector<int64_t> position_table = {};
};

/// Reads DIR/config.json (or the file itself). Errors: user error naming the file, the key and the
/// remedy (another architecture, odd head dimension, heads not divisible, an unknown rope type, …).
Config read_config(const std::filesystem::path& path);

/// What a rule learns, shared by all layers: T5's biases [H, buckets], learned vectors
/// [positions, D]; empty: nothing.
std::vector<int64_t> position_table_shape(const Config& config, const AttentionRule& rule);

/// What costs and memory depend on.
ModelGeometry geometry_of(const Config& config);

}  // namespace ropesweep::llama
