// The rope keys of config.json, both ways: from the file to a scheme call, and from a scheme to
// keys. Two eras: `rope_theta` with `rope_scaling` (transformers 4), `rope_parameters`
// (transformers 5).
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "experiments/position_encoding.h"

namespace ropesweep::llama {

/// What a checkpoint says of its own positions.
struct RopeSettings {
  /// Base: rope_theta. Original length: original_max_position_embeddings, else
  /// max_position_embeddings. Share: partial_rotary_factor. Factors: longrope's.
  RotaryShape rotary;
  std::string scheme = "none";  ///< call text
  double scale = 1;
};

/// ropesweep's own key: the scheme that the standard keys were written for.
inline constexpr const char* own_rope_key = "ropesweep_positions";

/// Reads the rope keys of a config. `file` names it in errors. `head_dim` in elements.
/// Errors: user error naming file, key and remedy for a malformed value or an unknown rope type.
RopeSettings read_rope_settings(const nlohmann::json& config, int64_t head_dim,
                                const std::string& file);

/// The keys that make other programs use (scheme, scale) over `shape`: the value of
/// `rope_parameters`, rope_theta included, and the `max_position_embeddings` that goes with them.
struct RopeKeys {
  nlohmann::json parameters;
  int64_t max_positions = 0;
};

/// Errors: user error when no rope type expresses the scheme. A scheme that changes attention (not
/// plain: attention_rule.h) gets the base model's keys: only ropesweep's own one says more.
RopeKeys rope_keys(const std::string& scheme, double scale, const RotaryShape& shape);

/// The same; nothing when no rope type expresses the scheme.
std::optional<RopeKeys> expressed_rope_keys(const std::string& scheme, double scale,
                                            const RotaryShape& shape);

/// True when the checkpoint's own longrope factors count for the scheme.
bool reads_own_factors(const std::string& scheme);

/// Those of the checkpoint's own positions without any scheme.
RopeKeys plain_rope_keys(const RotaryShape& shape);

/// Puts the keys of both eras, and the exact (scheme, scale) for ropesweep itself, into `config`. A
/// scheme that no rope type expresses is in ropesweep's own key alone, beside the keys of plain
/// positions. Errors: user error for an unknown scheme.
void write_rope_settings(nlohmann::json& config, const std::string& scheme, double scale,
                         const RotaryShape& shape);

}  // namespace ropesweep::llama
