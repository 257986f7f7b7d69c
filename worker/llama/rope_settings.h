// The rope keys of config.json, both ways: from the file to a scheme call, and from a scheme to
// keys. Two eras: `rope_theta` with `rope_scaling` (transformers 4), `rope_parameters`
// (transformers 5).
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "experiments/position_encoding.h"

namespace ropesweep::llama {

/// What a checkpoint says of its own positions.
struct RopeSettings {
  double base = 10000;          ///< rope_theta
  double original_length = 0;   ///< original_max_position_embeddings, else max_position_embeddings
  std::string scheme = "none";  ///< canonical call text
  double scale = 1;
};

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

/// Puts the keys of both eras, and the exact (scheme, scale) for ropesweep itself, into `config`.
void write_rope_settings(nlohmann::json& config, const std::string& scheme, double scale,
                         const RotaryShape& shape);

}  // namespace ropesweep::llama
