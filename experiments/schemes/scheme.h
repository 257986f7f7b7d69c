// What a scheme's file supplies to the registry: its description, its options and its map. A new
// rotary scheme is one file beside this one with one `SchemeDefinition`, and one line in
// registry.cpp.
#pragma once

#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "experiments/position_encoding.h"

namespace ropesweep::schemes {

/// choice: one of some texts; path: a file that the scheme reads; scheme: another scheme, which
/// this one changes.
enum class OptionKind { number, boolean, choice, path, scheme };

/// An option of a scheme, as `--list` shows it and as the canonical text orders it.
struct SchemeOption {
  std::string name;
  std::optional<std::string>
      default_value;  ///< canonical form; none: absent means something of its own
  std::string meaning;
  OptionKind kind = OptionKind::number;
  double least = 0;                                       ///< numbers: the least allowed value …
  bool least_allowed = false;                             ///< … and whether it is itself allowed
  double most = std::numeric_limits<double>::infinity();  ///< … and the greatest, itself allowed
  bool always_shown =
      false;              ///< in the canonical text even at its default: part of the scheme's name
  bool unnamed = false;   ///< stands without "name=" in the canonical text; such ones come first
  bool required = false;  ///< the scheme means nothing without it
  std::vector<std::string> choices = {};  ///< the texts that a choice takes
};

/// The options of one call, checked, in canonical form; absent ones are at their defaults.
class OptionValues {
 public:
  explicit OptionValues(std::map<std::string, std::string> values) : values_(std::move(values)) {}

  bool has(const std::string& name) const { return values_.contains(name); }
  std::optional<double> number(const std::string& name) const;
  bool boolean(const std::string& name) const { return values_.at(name) == "true"; }
  /// A path, or a scheme's canonical text; "" when absent.
  std::string text(const std::string& name) const;
  /// These, one of them changed.
  OptionValues with(const std::string& name, std::string value) const;

 private:
  std::map<std::string, std::string> values_;
};

struct FrequencyFile;

/// The map that a modifier changes, at the modifier's scale and arithmetic.
struct InnerMap {
  std::string name;  ///< of its scheme, without options
  double scale = 1;
  std::function<FrequencyMap(const RotaryShape& shape, int64_t length)> map;
};

/// All that a map is computed from.
struct MapRequest {
  OptionValues options;
  double scale = 1;   ///< s
  RotaryShape shape;  ///< head_dim: the rotated elements of a head
  TableArithmetic arithmetic = TableArithmetic::exact;
  InnerMap inner = {};                             ///< of a modifier
  std::shared_ptr<const FrequencyFile> file = {};  ///< of a scheme with a path
};

struct SchemeDefinition {
  std::string name;
  std::string summary;  ///< one line, with the source
  std::vector<SchemeOption>
      options;  ///< in canonical order; positional arguments fill them in this order
  bool takes_scale = true;
  /// An option that fixes the scale when given, so that the scale axes collapse; empty: none.
  std::string scale_option;
  /// A boolean option with which a scheme takes a scale that has none otherwise; empty: none.
  std::string scaled_option = {};
  /// Scale 1 is the base model (of a static scheme that takes a scale).
  bool base_at_scale_one = true;
  bool depends_on_length = false;
  /// θ' at a current length; static schemes ignore `length`.
  FrequencyMap (*map)(const MapRequest& request, int64_t length) = nullptr;
  /// A shorter text of the same meaning as these options; "": there is none.
  std::string (*shorter)(const OptionValues& options) = nullptr;
  /// What attention does beyond rotation (attention_rule.h); null: nothing.
  AttentionRule (*rule)(const MapRequest& request) = nullptr;
  /// ln of the amplitude of pair `pair` of a query at a position; a key's is the inverse. Null: the
  /// amplitudes are the map's.
  double (*log_amplitude)(const MapRequest& request, int64_t pair, double position) = nullptr;
  /// The options of a training step (from 1), where they change from step to step.
  std::optional<OptionValues> (*options_at_step)(const MapRequest& request, int64_t step) = nullptr;
  /// Positions of a training sequence (by its number among all of a fine-tune); null: 0, 1, 2, …
  std::vector<double> (*training_positions)(const MapRequest& request, int64_t tokens,
                                            uint64_t seed, int64_t sequence) = nullptr;

  /// Nothing but frequencies and constant amplitudes.
  bool is_map() const {
    return rule == nullptr && log_amplitude == nullptr && training_positions == nullptr;
  }
};

// The families, each in the file of its name.
const SchemeDefinition& none_scheme();
const SchemeDefinition& linear_scheme();
const SchemeDefinition& dynamic_linear_scheme();
const SchemeDefinition& base_scheme();
const SchemeDefinition& ntk_scheme();
const SchemeDefinition& dynamic_ntk_scheme();
const SchemeDefinition& ntk_by_parts_scheme();
const SchemeDefinition& yarn_scheme();
const SchemeDefinition& dynamic_yarn_scheme();
const SchemeDefinition& llama3_scheme();
const SchemeDefinition& longrope_scheme();
const SchemeDefinition& power_scheme();
const SchemeDefinition& truncated_scheme();
const SchemeDefinition& file_scheme();
// Modifiers of any map.
const SchemeDefinition& resonance_scheme();
const SchemeDefinition& p_rope_scheme();
const SchemeDefinition& nope_scheme();
const SchemeDefinition& partial_scheme();
const SchemeDefinition& alibi_scheme();
const SchemeDefinition& t5_scheme();
const SchemeDefinition& rerope_scheme();
const SchemeDefinition& leaky_rerope_scheme();
const SchemeDefinition& self_extend_scheme();
const SchemeDefinition& dual_chunk_scheme();
const SchemeDefinition& lm_infinite_scheme();
const SchemeDefinition& streaming_scheme();
const SchemeDefinition& sinusoidal_scheme();
const SchemeDefinition& learned_scheme();
const SchemeDefinition& xpos_scheme();
const SchemeDefinition& random_scheme();
const SchemeDefinition& pose_scheme();

/// The registry, in the order of `--list`.
const std::vector<const SchemeDefinition*>& definitions();

/// The option of a modifier that holds the map it changes.
SchemeOption map_option();
/// An option that counts tokens or the like. Errors: user error when it is no whole number.
int64_t whole_number(const MapRequest& request, const std::string& scheme, const std::string& name,
                     int64_t otherwise);

/// The base model's own map, and one that rotates nothing.
FrequencyMap own_map(const MapRequest& request, int64_t length);
FrequencyMap no_rotation(const MapRequest& request, int64_t length);

/// θ_i = b^(−2i/d) for i = 0 … d/2−1, with `base` as b.
std::vector<double> base_frequencies(const RotaryShape& shape, double base);

}  // namespace ropesweep::schemes
