// Schemes as text: `name(option=value, …)` to its definition and checked options, and back to the
// one canonical text. Internal to experiments/.
#pragma once

#include <string>
#include <string_view>

#include "experiments/position_encoding.h"
#include "experiments/schemes/scheme.h"

namespace ropesweep {

/// A number's shortest text that reads back to the same double: "4", "0.5", "1e+20".
std::string shortest_number(double value);

/// A scheme's text, understood.
struct SchemeText {
  const schemes::SchemeDefinition* definition = nullptr;
  schemes::OptionValues options;
  std::string canonical;
};

/// Errors: user error naming the scheme or option, with the nearest known name or the allowed
/// values.
SchemeText understand_scheme(std::string_view text);

}  // namespace ropesweep
