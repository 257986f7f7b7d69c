// Reads config.json and refuses, with the key and the remedy, what the model could not compute
// rightly.
#include "worker/llama/config.h"

#include <fstream>
#include <string_view>

#include "experiments/error.h"
#include "experiments/json_text.h"
#include "worker/llama/adapter_directory.h"
#include "worker/llama/config_keys.h"
#include "worker/llama/rope_settings.h"
#include "worker/llama/weight_slots.h"

namespace ropesweep::llama {
namespace {

using nlohmann::json;

json parse_file(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  if (!stream) {
    throw_user_error("{}: cannot be read; a model directory needs a config.json", file.string());
  }
  try {
    json config = parse_json(stream);
    if (!config.is_object()) throw_user_error("{}: must hold one JSON object", file.string());
    return config;
  } catch (const json::exception& error) {
    throw_user_error("{}: not valid JSON: {}", file.string(), error.what());
  }
}

/// transformers' defaults differ between families, and no checkpoint should depend on them.
int64_t kv_heads_of(const ConfigKeys& keys, const Config& config) {
  const Family& family = config.family;
  if (family.naming == Naming::gpt_neox) return config.heads;
  const bool must = family.model_type != "llama" && !keys.all().contains("num_key_value_heads");
  return must ? keys.count("num_key_value_heads") : keys.count("num_key_value_heads", config.heads);
}

void check_heads(const Config& config, const std::string& file) {
  if (config.heads % config.kv_heads != 0) {
    throw_user_error("{}: num_attention_heads {} is not a multiple of num_key_value_heads {}", file,
                     config.heads, config.kv_heads);
  }
  if (config.head_dim % 2 != 0 || config.head_dim < 32 || config.head_dim > 256) {
    throw_user_error("{}: head_dim is {}; it must be even and from 32 to 256", file,
                     config.head_dim);
  }
}

/// Elements of all biases, of norms and matrices.
int64_t count_biases(const Config& config) {
  int64_t of_layer = 0;
  for (const LayerField& field : layer_fields(config)) {
    if (std::string_view(field.name).ends_with(".bias")) {
      of_layer += layer_shape(config, field.field).front();
    }
  }
  return config.layers * of_layer + (config.family.layer_norm ? config.width : 0);
}

std::string type_of(const ConfigKeys& keys, const std::string& file) {
  const std::string type = keys.text({"dtype", "torch_dtype"}, "float32");
  if (type == "float32") return "f32";
  if (type == "bfloat16") return "bf16";
  if (type == "float16") return "f16";
  throw_user_error("{}: dtype: unknown '{}'; known: float32, bfloat16, float16", file, type);
}

}  // namespace

Config read_config(const std::filesystem::path& path) {
  const std::filesystem::path place = std::filesystem::is_directory(path)
                                          ? directory_with({"config.json"}, path) / "config.json"
                                          : path;
  const std::string file = place.string();
  Config config;
  config.source = parse_file(place);
  const ConfigKeys keys(config.source, file);
  config.family = read_family(keys);

  config.layers = keys.layers();
  config.width = keys.count("hidden_size");
  config.hidden = keys.count("intermediate_size");
  config.heads = keys.count("num_attention_heads");
  config.kv_heads = kv_heads_of(keys, config);
  if (!keys.has("head_dim") && config.width % config.heads != 0) {
    throw_user_error("{}: hidden_size {} is not a multiple of num_attention_heads {}; say head_dim",
                     file, config.width, config.heads);
  }
  config.head_dim = keys.count("head_dim", config.width / config.heads);
  check_heads(config, file);
  config.vocabulary = keys.count("vocab_size");
  config.tied = keys.flag("tie_word_embeddings");
  config.norm_epsilon =
      static_cast<float>(config.family.layer_norm ? keys.number("layer_norm_eps", 1e-5)
                                                  : keys.number("rms_norm_eps", 1e-6));
  config.initializer_range = keys.number("initializer_range", 0.02);
  config.max_positions = keys.count("max_position_embeddings", 2048);
  config.bos_id = keys.token_id("bos_token_id");
  config.eos_id = keys.token_id("eos_token_id");
  config.type = type_of(keys, file);

  const RopeSettings rope =
      read_rope_settings(with_family_defaults(config.source, config.family), config.head_dim, file);
  config.rotary = rope.rotary;
  config.own_scheme = rope.scheme;
  config.own_scale = rope.scale;
  const auto positions = make_position_encoding(rope.scheme, rope.scale, config.rotary);
  config.position_table = position_table_shape(config, positions->attention_rule());
  return config;
}

std::vector<int64_t> position_table_shape(const Config& config, const AttentionRule& rule) {
  if (rule.bias == DistanceBias::t5) return {config.heads, rule.buckets};
  if (rule.added == AddedPositions::learned) return {rule.table_rows, config.width};
  return {};
}

ModelGeometry geometry_of(const Config& config) {
  ModelGeometry geometry;
  geometry.layers = config.layers;
  geometry.width = config.width;
  geometry.heads = config.heads;
  geometry.kv_heads = config.kv_heads;
  geometry.head_dim = config.head_dim;
  geometry.hidden = config.hidden;
  geometry.vocabulary = config.vocabulary;
  geometry.mlp_matrices = config.family.gated ? 3 : 2;
  geometry.biases = count_biases(config);
  geometry.tied = config.tied;
  return geometry;
}

}  // namespace ropesweep::llama
