// Rope keys of config.json to scheme calls. Formulas of the rope types: transformers,
// modeling_rope_utils.py; the schemes themselves live in experiments/.
#include "worker/llama/rope_settings.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "experiments/error.h"

namespace ropesweep::llama {
namespace {

using nlohmann::json;

constexpr double longest_original = 1e12;

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
    for (const auto& [key, value] : found->items()) {
      if (value.is_object()) {
        throw_user_error(
            "{}: {}: {} has positions of its own; only models whose layers share them are known "
            "here",
            file, name, key);
      }
    }
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

std::string call_of_rope_type(const std::string& type, const json& keys, const std::string& file) {
  if (type == "default") return "none";
  if (type == "linear") return "linear";
  if (type == "dynamic") return "dynamic-ntk";
  if (type == "yarn") return yarn_call(keys, file);
  if (type == "longrope" || type == "su") return "longrope";
  if (type == "llama3") {
    return fmt::format("llama3(low_freq_factor={}, high_freq_factor={})",
                       number_at(keys, "low_freq_factor", 1, file),
                       number_at(keys, "high_freq_factor", 4, file));
  }
  if (type == "proportional") {
    const double share = number_at(keys, "partial_rotary_factor", 1, file);
    return fmt::format("p-rope({}, {})", share, keys.contains("factor") ? "linear" : "none");
  }
  throw_user_error(
      "{}: rope_type: unknown '{}'; known: default, linear, dynamic, yarn, longrope, llama3, "
      "proportional",
      file, type);
}

/// The share of a head that is rotated. `proportional` rotates all of it, some at frequency 0.
double rotary_fraction_of(const json& config, const json& keys, int64_t head_dim,
                          const std::string& type, const std::string& file) {
  if (type == "proportional") return 1;
  // The outer keys: transformers 4, and GPT-NeoX's name for it.
  const double old = number_at(config, "rotary_pct", 1, file);
  const double outer = number_at(config, "partial_rotary_factor", old, file);
  const double share = number_at(keys, "partial_rotary_factor", outer, file);
  const auto rotated = share > 1 ? 0 : static_cast<int64_t>(share * static_cast<double>(head_dim));
  if (rotated < 4 || rotated % 2 != 0) {
    throw_user_error(
        "{}: partial_rotary_factor (rotary_pct) is {}: of heads of {} it must leave an even number "
        "of at least "
        "4 elements to rotate",
        file, share, head_dim);
  }
  return share;
}

std::vector<double> factors_at(const json& keys, const char* key, size_t pairs,
                               const std::string& file) {
  const auto found = keys.find(key);
  if (found == keys.end() || !found->is_array() || found->size() != pairs) {
    throw_user_error("{}: {} must be a list of {} numbers, one a pair of rotated elements", file,
                     key, pairs);
  }
  std::vector<double> factors;
  for (const json& item : *found) {
    const double value = item.is_number() ? item.get<double>() : 0;
    if (!std::isfinite(value) || value <= 0) {
      throw_user_error("{}: {}[{}] must be a positive number, not {}", file, key, factors.size(),
                       item.dump());
    }
    factors.push_back(value);
  }
  return factors;
}

/// True when the file's standard keys are still those that our own key was written with.
/// Errors: user error when only our own key has the scheme, and it can't be made.
bool own_key_holds(const json& own, const json& keys, const RotaryShape& shape) {
  if (!own.is_object() || !own.contains("scheme") || !own["scheme"].is_string() ||
      !own.contains("scale") || !own["scale"].is_number()) {
    return false;
  }
  const bool expressed = !own.contains("expressed") || own["expressed"] != json(false);
  try {
    const auto written = expressed_rope_keys(own["scheme"], own["scale"], shape);
    const RopeKeys ours = written && expressed ? *written : plain_rope_keys(shape);
    json stated = keys;
    const auto share = stated.find("partial_rotary_factor");
    if (share != stated.end() && *share == json(1)) stated.erase(share);
    return ours.parameters == stated;
  } catch (const Error&) {
    if (!expressed) throw;
    return false;  // a scheme of another version, a file that is gone: the standard keys must do
  }
}

/// The shape that the scheme of our own key started from.
RotaryShape start_of(const json& own, const RotaryShape& stated, const std::string& file) {
  RotaryShape shape = stated;
  if (!own.is_object()) return shape;
  shape.base = number_at(own, "base", stated.base, file);
  shape.rotary_fraction =
      std::min(number_at(own, "rotary_fraction", stated.rotary_fraction, file), 1.0);
  if (!own.contains("scheme") || !own["scheme"].is_string() || !reads_own_factors(own["scheme"])) {
    // The lists are those of our export of another scheme.
    shape.short_factor = shape.long_factor = {};
    shape.attention_factor = 0;
    return shape;
  }
  const double share = static_cast<double>(shape.head_dim) * shape.rotary_fraction;
  const auto pairs = static_cast<size_t>(share) / 2;
  if (own.contains("short_factor")) {
    shape.short_factor = factors_at(own, "short_factor", pairs, file);
    shape.long_factor = factors_at(own, "long_factor", pairs, file);
  }
  if (own.contains("attention_factor") && own["attention_factor"].is_number()) {
    shape.attention_factor = own["attention_factor"];
  }
  return shape;
}

}  // namespace

RopeSettings read_rope_settings(const json& config, int64_t head_dim, const std::string& file) {
  const json keys = merged_rope_keys(config, file);
  const std::string type = rope_type_of(keys, file);
  RopeSettings settings;
  RotaryShape& rotary = settings.rotary;
  rotary.head_dim = head_dim;
  rotary.base = number_at(keys, "rope_theta", 10000, file);
  if (!(rotary.base > 0)) {
    throw_user_error("{}: rope_theta {}: the base of frequencies is above 0", file, rotary.base);
  }
  rotary.rotary_fraction = rotary_fraction_of(config, keys, head_dim, type, file);
  const double max_positions = number_at(config, "max_position_embeddings", 2048, file);
  const double outer = number_at(config, "original_max_position_embeddings", max_positions, file);
  rotary.original_length = number_at(keys, "original_max_position_embeddings", outer, file);
  if (rotary.original_length > longest_original) {
    throw_user_error("{}: original_max_position_embeddings is {}; it can be {} at most", file,
                     rotary.original_length, longest_original);
  }
  if (type == "longrope" || type == "su") {
    const double rotated = std::floor(static_cast<double>(head_dim) * rotary.rotary_fraction);
    const auto pairs = static_cast<size_t>(rotated / 2);
    rotary.short_factor = factors_at(keys, "short_factor", pairs, file);
    rotary.long_factor = factors_at(keys, "long_factor", pairs, file);
    rotary.attention_factor = number_at(keys, "attention_factor", 0, file);
  }

  if (config.contains(own_rope_key)) {
    const json& own = config[own_rope_key];
    const RotaryShape trained = start_of(own, rotary, file);
    if (own_key_holds(own, keys, trained)) {
      settings.scheme = own["scheme"];
      settings.scale = own["scale"];
      settings.rotary = trained;
      return settings;
    }
  }
  settings.scheme = call_of_rope_type(type, keys, file);
  if (type == "default") return settings;
  const double ratio = max_positions / rotary.original_length;
  const bool by_ratio = type == "yarn" || type == "longrope" || type == "su";
  settings.scale = number_at(keys, "factor",
                             by_ratio                 ? ratio
                             : type == "proportional" ? 1
                                                      : 0,
                             file);
  if (settings.scale < 1) {
    throw_user_error("{}: rope_type '{}' needs a factor of at least 1", file, type);
  }
  return settings;
}

}  // namespace ropesweep::llama
