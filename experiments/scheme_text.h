// Schemes as text: `name(option=value, …)` to its definition and checked options, and back to the
// one canonical text. Internal to experiments/.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "experiments/position_encoding.h"
#include "experiments/schemes/scheme.h"

namespace ropesweep {

/// A number's shortest text that reads back to the same double: "4", "0.5", "1e+20".
std::string shortest_number(double value);

/// Absolute and normalised; a relative path is relative to the working directory.
std::string absolute_path(const std::string& path);

/// A scheme's text, understood.
struct SchemeText {
  const schemes::SchemeDefinition* definition = nullptr;
  schemes::OptionValues options;
  std::string canonical;
  std::shared_ptr<const SchemeText> inner;  ///< the map that a modifier changes; null: no modifier
};

/// Static unless it, or the map that it changes, follows the current length.
bool is_static(const SchemeText& scheme);
/// It, or the map that it changes, takes a scale that no option fixes.
bool takes_scale(const SchemeText& scheme);
/// See `scheme_at_scale_one`.
SchemeText at_scale_one(const SchemeText& scheme);

/// Errors: user error naming the scheme or option, with the nearest known name or the allowed
/// values.
SchemeText understand_scheme(std::string_view text, const PathRule& path_rule = absolute_path);

}  // namespace ropesweep
