// Rope keys of config.json ↔ scheme calls. Formulas of the rope types: transformers,
// modeling_rope_utils.py; the schemes themselves live in experiments/.
//
// Letters: θ_i = base^(−2i/d) · θ'_i the scheme's frequencies · L0 the original length
#include "worker/llama/rope_settings.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "experiments/error.h"

namespace ropesweep::llama {
namespace {

using nlohmann::json;

// ropesweep's own key: the scheme that the standard keys were written for.
constexpr const char* own_key = "ropesweep_positions";
// Stands for θ_i / 0 in longrope's factor lists: finite in float32 also after × base^(2i/d).
constexpr double huge_factor = 1e30;

double number_at(const json& keys, const char* key, double otherwise, const std::string& file) {
  const auto found = keys.find(key);
  if (found == keys.end() || found->is_null()) return otherwise;
  if (!found->is_number()) {
    throw_user_error("{}: {} must be a number, not {}", file, key, found->dump());
  }
  const double value = found->get<double>();
  if (!std::isfinite(value) || value <= 0) {
    throw_user_error("{}: {} must be a positive number, not {}", file, key, found->dump());
  }
  return value;
}

/// Both eras merged: rope_parameters, else rope_scaling, with rope_theta inside.
json merged_rope_keys(const json& config, const std::string& file) {
  json keys = json::object();
  for (const char* name : {"rope_scaling", "rope_parameters"}) {
    const auto found = config.find(name);
    if (found == config.end() || found->is_null()) continue;
    if (!found->is_object()) throw_user_error("{}: {} must be an object or null", file, name);
    keys.update(*found);
  }
  if (!keys.contains("rope_theta") && config.contains("rope_theta")) {
    keys["rope_theta"] = config["rope_theta"];
  }
  return keys;
}

std::string rope_type_of(const json& keys, const std::string& file) {
  for (const char* key : {"rope_type", "type"}) {
    const auto found = keys.find(key);
    if (found == keys.end() || found->is_null()) continue;
    if (!found->is_string()) throw_user_error("{}: {} must be a text", file, key);
    return found->get<std::string>();
  }
  return "default";
}

/// The yarn options that differ from transformers' defaults, as a call.
std::string yarn_call(const json& keys, const std::string& file) {
  std::vector<std::string> options;
  for (const auto& [key, usual] : {std::pair{"beta_fast", 32.0}, std::pair{"beta_slow", 1.0},
                                   std::pair{"attention_factor", 0.0}, std::pair{"mscale", 0.0},
                                   std::pair{"mscale_all_dim", 0.0}}) {
    const auto found = keys.find(key);
    // transformers takes a zero for "not given" here.
    if (found != keys.end() && found->is_number() && found->get<double>() == 0) continue;
    const double value = number_at(keys, key, usual, file);
    if (value != usual) options.push_back(fmt::format("{}={}", key, value));
  }
  if (keys.contains("truncate") && keys["truncate"] == json(false)) {
    options.emplace_back("truncate=false");
  }
  return options.empty() ? "yarn" : fmt::format("yarn({})", fmt::join(options, ", "));
}

bool scheme_exists(const std::string& name) {
  const auto& schemes = all_schemes();
  return std::any_of(schemes.begin(), schemes.end(),
                     [&](const SchemeInfo& info) { return info.name == name; });
}

std::string call_of_rope_type(const std::string& type, const json& keys, const std::string& file) {
  if (type == "default") return "none";
  if (type == "linear") return "linear";
  if (type == "dynamic") return "dynamic-ntk";
  if (type == "yarn") return yarn_call(keys, file);
  if (type == "llama3" && scheme_exists("llama3")) {
    return fmt::format("llama3(low_freq_factor={}, high_freq_factor={})",
                       number_at(keys, "low_freq_factor", 1, file),
                       number_at(keys, "high_freq_factor", 4, file));
  }
  if (type == "llama3" || type == "longrope" || type == "su") {
    throw_user_error(
        "{}: rope_type: this version does not know '{}' yet; use a checkpoint with default, "
        "linear, dynamic or yarn positions",
        file, type);
  }
  throw_user_error("{}: rope_type: unknown '{}'; known: default, linear, dynamic, yarn", file,
                   type);
}

/// True when the file's standard keys are still those that our own key was written with.
bool own_key_holds(const json& config, const json& keys, const RotaryShape& shape) {
  const json& own = config[own_key];
  if (!own.is_object() || !own.contains("scheme") || !own["scheme"].is_string() ||
      !own.contains("scale") || !own["scale"].is_number()) {
    return false;
  }
  try {
    return rope_keys(own["scheme"], own["scale"], shape).parameters == keys;
  } catch (const Error&) {
    return false;  // a scheme of another version: the standard keys must do
  }
}

bool same_table(const PositionEncoding& encoding, const FrequencyMap& map, int64_t position) {
  const RotaryTable table = encoding.table(position, 1, position + 1);
  for (size_t i = 0; i < map.inv_freq.size(); ++i) {
    const double angle = static_cast<double>(position) * map.inv_freq[i];
    if (std::abs(table.query_cos[i] - map.query_amplitude * std::cos(angle)) > 1e-4 ||
        std::abs(table.key_sin[i] - map.key_amplitude * std::sin(angle)) > 1e-4) {
      return false;
    }
  }
  return true;
}

/// Any static map as longrope: factors θ_i / θ'_i, the same list for short and long inputs.
json longrope_keys(const PositionEncoding& encoding) {
  const RotaryShape& shape = encoding.shape();
  const FrequencyMap map = encoding.map(static_cast<int64_t>(shape.original_length));
  const size_t pairs = static_cast<size_t>(shape.head_dim / 2);
  const bool whole = map.inv_freq.size() == pairs && map.query_amplitude == map.key_amplitude;
  if (encoding.depends_on_length() || !whole || !same_table(encoding, map, 1) ||
      !same_table(encoding, map, static_cast<int64_t>(shape.original_length))) {
    throw_user_error(
        "scheme {}: no rope type of config.json expresses it, so other programs could not read "
        "such a checkpoint",
        encoding.scheme());
  }
  std::vector<double> factors(pairs);
  for (size_t i = 0; i < pairs; ++i) {
    const double exponent = -2.0 * static_cast<double>(i) / static_cast<double>(shape.head_dim);
    const double plain = std::pow(shape.base, exponent);
    factors[i] = map.inv_freq[i] > 0 ? std::min(plain / map.inv_freq[i], huge_factor) : huge_factor;
  }
  return {{"rope_type", "longrope"},
          {"short_factor", factors},
          {"long_factor", factors},
          {"factor", std::max(encoding.scale(), 1.0)},
          {"attention_factor", map.query_amplitude},
          {"original_max_position_embeddings", static_cast<int64_t>(shape.original_length)}};
}

json yarn_keys(const SchemeCall& call, const PositionEncoding& encoding) {
  const double original = encoding.shape().original_length;
  json keys = {{"rope_type", "yarn"},
               {"factor", encoding.scale()},
               {"original_max_position_embeddings", static_cast<int64_t>(original)}};
  for (const auto& [name, value] : call.named) {
    if (name == "truncate") {
      keys[name] = value == "true" || value == "1";
    } else {
      keys[name] = std::stod(value);
    }
  }
  return keys;
}

}  // namespace

RopeSettings read_rope_settings(const json& config, int64_t head_dim, const std::string& file) {
  const json keys = merged_rope_keys(config, file);
  if (number_at(keys, "partial_rotary_factor", 1, file) != 1 ||
      number_at(config, "partial_rotary_factor", 1, file) != 1) {
    throw_user_error("{}: partial_rotary_factor must be 1: partly rotated heads are unknown here",
                     file);
  }
  RopeSettings settings;
  settings.base = number_at(keys, "rope_theta", 10000, file);
  const double max_positions = number_at(config, "max_position_embeddings", 2048, file);
  const double outer = number_at(config, "original_max_position_embeddings", max_positions, file);
  settings.original_length = number_at(keys, "original_max_position_embeddings", outer, file);

  const RotaryShape shape{head_dim, settings.base, settings.original_length};
  if (config.contains(own_key) && own_key_holds(config, keys, shape)) {
    settings.scheme = config[own_key]["scheme"];
    settings.scale = config[own_key]["scale"];
    return settings;
  }
  const std::string type = rope_type_of(keys, file);
  settings.scheme = call_of_rope_type(type, keys, file);
  if (type != "default") {
    const double ratio = max_positions / settings.original_length;
    settings.scale = number_at(keys, "factor", type == "yarn" ? ratio : 0, file);
    if (settings.scale < 1) {
      throw_user_error("{}: rope_type '{}' needs a factor of at least 1", file, type);
    }
  }
  return settings;
}

RopeKeys rope_keys(const std::string& scheme, double scale, const RotaryShape& shape) {
  const SchemeCall call = parse_scheme_call(scheme);
  const auto encoding = make_position_encoding(scheme, scale, shape);
  const auto original = static_cast<int64_t>(shape.original_length);
  const bool unscaled =
      encoding->scale() == 1 && scheme_takes_scale(scheme) && scheme_is_static(scheme);
  RopeKeys keys;
  keys.max_positions = original;
  // What attention does beside rotating has no key there: the base model's, and the exact scheme in
  // our own key.
  if (call.name == "none" || unscaled || !encoding->attention_rule().is_plain()) {
    keys.parameters = {{"rope_type", "default"}};
  } else if (call.name == "linear") {
    keys.parameters = {{"rope_type", "linear"}, {"factor", scale}};
  } else if (call.name == "dynamic-ntk") {
    const auto fixed = call.named.find("factor");
    const double factor = fixed != call.named.end()  ? std::stod(fixed->second)
                          : !call.positional.empty() ? std::stod(call.positional.front())
                                                     : scale;
    keys.parameters = {{"rope_type", "dynamic"}, {"factor", factor}};
  } else {
    const double lengthened = encoding->scale() * shape.original_length;
    const bool exact = lengthened == std::floor(lengthened) &&
                       lengthened / shape.original_length == encoding->scale();
    const bool as_yarn = call.name == "yarn" && call.positional.empty() && exact;
    keys.parameters = as_yarn ? yarn_keys(call, *encoding) : longrope_keys(*encoding);
    keys.max_positions = std::max(original, static_cast<int64_t>(std::llround(lengthened)));
  }
  keys.parameters["rope_theta"] = shape.base;
  return keys;
}

void write_rope_settings(json& config, const std::string& scheme, double scale,
                         const RotaryShape& shape) {
  const RopeKeys keys = rope_keys(scheme, scale, shape);
  config["max_position_embeddings"] = keys.max_positions;
  config["rope_theta"] = shape.base;
  config["rope_parameters"] = keys.parameters;
  json scaling = keys.parameters;
  scaling.erase("rope_theta");
  config["rope_scaling"] = scaling["rope_type"] == "default" ? json(nullptr) : scaling;
  config.erase("original_max_position_embeddings");
  if (scaling.contains("original_max_position_embeddings")) {
    config["original_max_position_embeddings"] = scaling["original_max_position_embeddings"];
  }
  config[own_key] = {{"scheme", scheme}, {"scale", scale}};
}

}  // namespace ropesweep::llama
