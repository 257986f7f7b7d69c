// Schemes to rope keys of config.json, for programs that know transformers' rope types only.
//
// Letters: θ_i = base^(−2i/d) · θ'_i the scheme's frequencies · L0 the original length
#include <algorithm>
#include <cmath>
#include <vector>

#include "experiments/error.h"
#include "worker/llama/rope_settings.h"

namespace ropesweep::llama {
namespace {

using nlohmann::json;

// Stands for θ_i / 0 in longrope's factor lists: finite in float32 also after × base^(2i/d).
constexpr double huge_factor = 1e30;

int64_t original_of(const RotaryShape& shape) {
  return static_cast<int64_t>(shape.original_length);
}

/// True when the encoding's rotation at `position` is that of its map and of nothing else.
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

/// θ_i / θ'_i. `map` has all pairs that the checkpoint rotates.
std::vector<double> factors_of(const RotaryShape& shape, const FrequencyMap& map) {
  const double dim = 2 * static_cast<double>(map.inv_freq.size());
  std::vector<double> factors(map.inv_freq.size());
  for (size_t i = 0; i < factors.size(); ++i) {
    const double plain = std::pow(shape.base, -2.0 * static_cast<double>(i) / dim);
    factors[i] = map.inv_freq[i] > 0 ? std::min(plain / map.inv_freq[i], huge_factor) : huge_factor;
  }
  return factors;
}

json longrope_keys(const PositionEncoding& encoding, const FrequencyMap& up_to_original,
                   const FrequencyMap& past_it) {
  const RotaryShape& shape = encoding.shape();
  return {{"rope_type", "longrope"},
          {"short_factor", factors_of(shape, up_to_original)},
          {"long_factor", factors_of(shape, past_it)},
          {"factor", std::max(encoding.scale(), 1.0)},
          {"attention_factor", up_to_original.query_amplitude},
          {"original_max_position_embeddings", original_of(shape)}};
}

/// Elements that plain positions over `shape` rotate.
size_t rotated_pairs(const RotaryShape& shape) {
  return static_cast<size_t>(static_cast<double>(shape.head_dim) * shape.rotary_fraction) / 2;
}

/// Any static map, with the same factors for short and long inputs; nothing for what is no map.
std::optional<json> keys_of_map(const PositionEncoding& encoding) {
  const RotaryShape& shape = encoding.shape();
  if (encoding.depends_on_length()) return std::nullopt;
  const FrequencyMap map = encoding.map(original_of(shape));
  if (map.inv_freq.size() != rotated_pairs(shape) || map.query_amplitude != map.key_amplitude ||
      !same_table(encoding, map, 1) || !same_table(encoding, map, original_of(shape))) {
    return std::nullopt;
  }
  return longrope_keys(encoding, map, map);
}

/// The checkpoint's own lists stay what they were, to the bit.
json keys_of_longrope(const SchemeCall& call, const PositionEncoding& encoding) {
  const RotaryShape& shape = encoding.shape();
  json keys = longrope_keys(encoding, encoding.map(original_of(shape)),
                            encoding.map(original_of(shape) + 1));
  if (!call.named.contains("file")) {
    keys["short_factor"] = shape.short_factor;
    keys["long_factor"] = shape.long_factor;
  }
  return keys;
}

json keys_of_yarn(const SchemeCall& call, const PositionEncoding& encoding) {
  json keys = {{"rope_type", "yarn"},
               {"factor", encoding.scale()},
               {"original_max_position_embeddings", original_of(encoding.shape())}};
  for (const auto& [name, value] : call.named) {
    if (name == "truncate") {
      keys[name] = value == "true";
    } else {
      keys[name] = std::stod(value);
    }
  }
  return keys;
}

json keys_of_llama3(const SchemeCall& call, const PositionEncoding& encoding) {
  const auto option = [&](const char* name, double usual) {
    const auto found = call.named.find(name);
    return found == call.named.end() ? usual : std::stod(found->second);
  };
  return {{"rope_type", "llama3"},
          {"factor", encoding.scale()},
          {"low_freq_factor", option("low_freq_factor", 1)},
          {"high_freq_factor", option("high_freq_factor", 4)},
          {"original_max_position_embeddings", original_of(encoding.shape())}};
}

/// `partial` over a checkpoint that is partial itself: another share. Over one that rotates whole
/// heads it can't be said, since its architecture elsewhere ignores the share.
std::optional<RopeKeys> keys_of_partial(const SchemeCall& call, double scale,
                                        const PositionEncoding& encoding) {
  RotaryShape shape = encoding.shape();
  if (shape.rotary_fraction == 1) return std::nullopt;
  const double elements = 2 * static_cast<double>(encoding.map(1).inv_freq.size());
  const double dim = static_cast<double>(shape.head_dim);
  shape.rotary_fraction = elements / dim;
  while (shape.rotary_fraction * dim < elements) {  // readers round the product down
    shape.rotary_fraction = std::nextafter(shape.rotary_fraction, 1.0);
  }
  return expressed_rope_keys(call.positional.size() > 1 ? call.positional[1] : "none", scale,
                             shape);
}

}  // namespace

bool reads_own_factors(const std::string& scheme) {
  return scheme.find("longrope") != std::string::npos;
}

RopeKeys plain_rope_keys(const RotaryShape& shape) {
  RopeKeys keys = {{{"rope_type", "default"}, {"rope_theta", shape.base}}, original_of(shape)};
  if (shape.rotary_fraction != 1) keys.parameters["partial_rotary_factor"] = shape.rotary_fraction;
  return keys;
}

std::optional<RopeKeys> expressed_rope_keys(const std::string& scheme, double scale,
                                            const RotaryShape& shape) {
  const auto encoding = make_position_encoding(scheme, scale, shape);
  if (!encoding->attention_rule().is_plain()) return std::nullopt;
  const std::string effective =
      encoding->scale() == 1 ? scheme_at_scale_one(scheme) : encoding->scheme();
  const SchemeCall call = parse_scheme_call(effective);
  const double lengthened = encoding->scale() * shape.original_length;
  // Readers of yarn want the factor to be max/original exactly.
  const bool exact = lengthened == std::floor(lengthened) &&
                     lengthened / shape.original_length == encoding->scale();
  RopeKeys keys = plain_rope_keys(shape);
  json scaling;
  if (call.name == "partial") return keys_of_partial(call, scale, *encoding);
  if (call.name == "none") return keys;
  if (call.name == "base") {
    keys.parameters["rope_theta"] = std::stod(call.positional.at(0));
    return keys;
  }
  if (call.name == "linear") {
    scaling = {{"rope_type", "linear"}, {"factor", scale}};
  } else if (call.name == "dynamic-ntk") {
    const auto fixed = call.named.find("factor");
    const double factor = fixed != call.named.end() ? std::stod(fixed->second) : scale;
    scaling = {{"rope_type", "dynamic"}, {"factor", factor}};
  } else {
    if (call.name == "yarn" && exact) {
      scaling = keys_of_yarn(call, *encoding);
    } else if (call.name == "llama3") {
      scaling = keys_of_llama3(call, *encoding);
    } else if (call.name == "longrope") {
      scaling = keys_of_longrope(call, *encoding);
    } else if (const auto map = keys_of_map(*encoding)) {
      scaling = *map;
    } else {
      return std::nullopt;
    }
    keys.max_positions =
        std::max(keys.max_positions, static_cast<int64_t>(std::llround(lengthened)));
  }
  keys.parameters.update(scaling);
  return keys;
}

RopeKeys rope_keys(const std::string& scheme, double scale, const RotaryShape& shape) {
  const auto keys = expressed_rope_keys(scheme, scale, shape);
  if (!keys) {
    throw_user_error(
        "scheme {}: no rope type of config.json expresses it, so other programs could not read "
        "such a checkpoint",
        canonical_scheme(scheme));
  }
  return *keys;
}

void write_rope_settings(json& config, const std::string& scheme, double scale,
                         const RotaryShape& shape) {
  const auto expressed = expressed_rope_keys(scheme, scale, shape);
  const RopeKeys keys = expressed.value_or(plain_rope_keys(shape));
  config["max_position_embeddings"] = keys.max_positions;
  config["rope_theta"] = keys.parameters["rope_theta"];
  config["rope_parameters"] = keys.parameters;
  json scaling = keys.parameters;
  scaling.erase("rope_theta");
  scaling.erase("partial_rotary_factor");
  config["rope_scaling"] = scaling["rope_type"] == "default" ? json(nullptr) : scaling;
  const bool partial = keys.parameters.contains("partial_rotary_factor");
  for (const char* key : {"partial_rotary_factor", "rotary_pct"}) {
    if (partial && (config.contains(key) || std::string(key) == "partial_rotary_factor")) {
      config[key] = keys.parameters["partial_rotary_factor"];
    } else {
      config.erase(key);
    }
  }
  config.erase("original_max_position_embeddings");
  if (scaling.contains("original_max_position_embeddings")) {
    config["original_max_position_embeddings"] = scaling["original_max_position_embeddings"];
  }
  config[own_rope_key] = {{"scheme", scheme}, {"scale", scale}};
  if (!expressed) config[own_rope_key]["expressed"] = false;
  // What the scheme started from, where the standard keys don't say it.
  json& own = config[own_rope_key];
  if (keys.parameters["rope_theta"] != json(shape.base)) own["base"] = shape.base;
  const double share = partial ? keys.parameters["partial_rotary_factor"].get<double>() : 1.0;
  if (share != shape.rotary_fraction) own["rotary_fraction"] = shape.rotary_fraction;
  if (shape.short_factor.empty() || !reads_own_factors(scheme)) return;
  own["attention_factor"] = shape.attention_factor;
  if (scaling["rope_type"] != "longrope" || scaling["short_factor"] != json(shape.short_factor)) {
    own["short_factor"] = shape.short_factor;
    own["long_factor"] = shape.long_factor;
  }
}

}  // namespace ropesweep::llama
