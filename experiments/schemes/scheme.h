// What a scheme's file supplies to the registry: its description, its options and its map. A new
// rotary scheme is one file beside this one with one `SchemeDefinition`, and one line in
// registry.cpp.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "experiments/position_encoding.h"

namespace ropesweep::schemes {

enum class OptionKind { number, boolean };

/// An option of a scheme, as `--list` shows it and as the canonical text orders it.
struct SchemeOption {
  std::string name;
  std::optional<std::string>
      default_value;  ///< canonical form; none: absent means something of its own
  std::string meaning;
  OptionKind kind = OptionKind::number;
  double least = 0;            ///< numbers: the least allowed value …
  bool least_allowed = false;  ///< … and whether it is itself allowed
  bool always_shown =
      false;  ///< in the canonical text even at its default: part of the scheme's name
};

/// The options of one call, checked, in canonical form; absent ones are at their defaults.
class OptionValues {
 public:
  explicit OptionValues(std::map<std::string, std::string> values) : values_(std::move(values)) {}

  bool has(const std::string& name) const { return values_.contains(name); }
  std::optional<double> number(const std::string& name) const;
  bool boolean(const std::string& name) const { return values_.at(name) == "true"; }

 private:
  std::map<std::string, std::string> values_;
};

/// All that a map is computed from.
struct MapRequest {
  OptionValues options;
  double scale = 1;  ///< s
  RotaryShape shape;
  TableArithmetic arithmetic = TableArithmetic::exact;
};

struct SchemeDefinition {
  std::string name;
  std::string summary;  ///< one line, with the source
  std::vector<SchemeOption>
      options;  ///< in canonical order; positional arguments fill them in this order
  bool takes_scale = true;
  /// An option that fixes the scale when given, so that the scale axes collapse; empty: none.
  std::string scale_option;
  bool depends_on_length = false;
  /// θ' at a current length; static schemes ignore `length`.
  FrequencyMap (*map)(const MapRequest& request, int64_t length) = nullptr;
};

// The families, each in the file of its name.
const SchemeDefinition& none_scheme();
const SchemeDefinition& linear_scheme();
const SchemeDefinition& ntk_scheme();
const SchemeDefinition& dynamic_ntk_scheme();
const SchemeDefinition& yarn_scheme();
const SchemeDefinition& power_scheme();
const SchemeDefinition& truncated_scheme();

/// The registry, in the order of `--list`.
const std::vector<const SchemeDefinition*>& definitions();

/// θ_i = b^(−2i/d) for i = 0 … d/2−1, with `base` as b.
std::vector<double> base_frequencies(const RotaryShape& shape, double base);

}  // namespace ropesweep::schemes
