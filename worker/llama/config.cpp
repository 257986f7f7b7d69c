// Reads config.json and refuses, with the key and the remedy, what the model could not compute
// rightly.
#include "worker/llama/config.h"

#include <fstream>
#include <initializer_list>

#include "experiments/error.h"
#include "worker/llama/rope_settings.h"

namespace ropesweep::llama {
namespace {

using nlohmann::json;

json parse_file(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  if (!stream) {
    throw_user_error("{}: cannot be read; a model directory needs a config.json", file.string());
  }
  try {
    json config = json::parse(stream);
    if (!config.is_object()) throw_user_error("{}: must hold one JSON object", file.string());
    return config;
  } catch (const json::exception& error) {
    throw_user_error("{}: not valid JSON: {}", file.string(), error.what());
  }
}

/// One config with the name of its file, for errors.
class Keys {
 public:
  Keys(const json& config, std::string file) : config_(config), file_(std::move(file)) {}

  bool has(const char* key) const { return config_.contains(key) && !config_[key].is_null(); }

  int64_t count(const char* key) const {
    if (!has(key)) throw_user_error("{}: {} is missing", file_, key);
    const json& value = config_[key];
    constexpr int64_t most = int64_t{1} << 31;
    if (!value.is_number_integer() || value.get<int64_t>() < 1 || value.get<int64_t>() > most) {
      throw_user_error("{}: {} must be a positive integer, not {}", file_, key, value.dump());
    }
    return value.get<int64_t>();
  }

  int64_t count(const char* key, int64_t otherwise) const {
    return has(key) ? count(key) : otherwise;
  }

  double number(const char* key, double otherwise) const {
    if (!has(key)) return otherwise;
    const json& value = config_[key];
    if (!value.is_number() || value.get<double>() < 0) {
      throw_user_error("{}: {} must be a number of at least 0, not {}", file_, key, value.dump());
    }
    return value.get<double>();
  }

  bool flag(const char* key) const {
    if (!has(key)) return false;
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
    const json& value = config_[key];
    if (value.is_array() && value.empty()) return -1;
    const json& first = value.is_array() ? value.front() : value;
    if (!first.is_number_integer()) {
      throw_user_error("{}: {} must be an integer or a list of them, not {}", file_, key,
                       value.dump());
    }
    return first.get<int64_t>();
  }

 private:
  const json& config_;
  std::string file_;
};

void check_architecture(const json& config, const Keys& keys, const std::string& file) {
  const std::string model_type = keys.text({"model_type"}, "llama");
  std::string architecture = "LlamaForCausalLM";
  if (keys.has("architectures") && config["architectures"].is_array() &&
      !config["architectures"].empty() && config["architectures"][0].is_string()) {
    architecture = config["architectures"][0].get<std::string>();
  }
  if (model_type != "llama" || architecture != "LlamaForCausalLM") {
    throw_user_error(
        "{}: architectures: '{}' (model_type '{}') is not a Llama; ropesweep runs "
        "LlamaForCausalLM only",
        file, architecture, model_type);
  }
  for (const char* key : {"attention_bias", "mlp_bias"}) {
    if (keys.flag(key)) {
      throw_user_error("{}: {} is true; only Llamas without biases are known here", file, key);
    }
  }
  const std::string activation = keys.text({"hidden_act"}, "silu");
  if (activation != "silu" && activation != "swish") {
    throw_user_error("{}: hidden_act: '{}' is unknown; only silu is", file, activation);
  }
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

std::string type_of(const Keys& keys, const std::string& file) {
  const std::string type = keys.text({"dtype", "torch_dtype"}, "float32");
  if (type == "float32") return "f32";
  if (type == "bfloat16") return "bf16";
  if (type == "float16") return "f16";
  throw_user_error("{}: dtype: unknown '{}'; known: float32, bfloat16, float16", file, type);
}

}  // namespace

Config read_config(const std::filesystem::path& path) {
  const std::filesystem::path place =
      std::filesystem::is_directory(path) ? path / "config.json" : path;
  const std::string file = place.string();
  Config config;
  config.source = parse_file(place);
  const Keys keys(config.source, file);
  check_architecture(config.source, keys, file);

  config.layers = keys.count("num_hidden_layers");
  config.width = keys.count("hidden_size");
  config.hidden = keys.count("intermediate_size");
  config.heads = keys.count("num_attention_heads");
  config.kv_heads = keys.count("num_key_value_heads", config.heads);
  if (!keys.has("head_dim") && config.width % config.heads != 0) {
    throw_user_error("{}: hidden_size {} is not a multiple of num_attention_heads {}; say head_dim",
                     file, config.width, config.heads);
  }
  config.head_dim = keys.count("head_dim", config.width / config.heads);
  check_heads(config, file);
  config.vocabulary = keys.count("vocab_size");
  config.tied = keys.flag("tie_word_embeddings");
  config.norm_epsilon = static_cast<float>(keys.number("rms_norm_eps", 1e-6));
  config.initializer_range = keys.number("initializer_range", 0.02);
  config.max_positions = keys.count("max_position_embeddings", 2048);
  config.bos_id = keys.token_id("bos_token_id");
  config.eos_id = keys.token_id("eos_token_id");
  config.type = type_of(keys, file);

  const RopeSettings rope = read_rope_settings(config.source, config.head_dim, file);
  config.rotary = {config.head_dim, rope.base, rope.original_length};
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
  return geometry;
}

}  // namespace ropesweep::llama
