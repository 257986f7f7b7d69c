// Checks a scheme call against the registry and writes its canonical text.
#include "experiments/scheme_text.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "experiments/error.h"
#include "experiments/nearest_name.h"

namespace ropesweep {
namespace {

using schemes::OptionKind;
using schemes::SchemeDefinition;
using schemes::SchemeOption;

std::string did_you_mean(std::string_view word, const std::vector<std::string>& known) {
  const std::string nearest = nearest_name(word, known);
  return nearest.empty() ? fmt::format("known: {}", fmt::join(known, ", "))
                         : fmt::format("did you mean \"{}\"?", nearest);
}

const SchemeDefinition& find_definition(const std::string& name) {
  std::vector<std::string> known;
  for (const SchemeDefinition* definition : schemes::definitions()) {
    if (definition->name == name) return *definition;
    known.push_back(definition->name);
  }
  throw_user_error("unknown scheme \"{}\"; {}", name, did_you_mean(name, known));
}

const SchemeOption& find_option(const SchemeDefinition& scheme, const std::string& name) {
  std::vector<std::string> known;
  for (const SchemeOption& option : scheme.options) {
    if (option.name == name) return option;
    known.push_back(option.name);
  }
  if (known.empty()) {
    throw_user_error("scheme {} takes no options, \"{}\" was given", scheme.name, name);
  }
  throw_user_error("scheme {} has no option \"{}\"; {}", scheme.name, name,
                   did_you_mean(name, known));
}

std::string checked_number(const SchemeDefinition& scheme, const SchemeOption& option,
                           const std::string& text) {
  double value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || stop != end || !std::isfinite(value)) {
    throw_user_error("scheme {}: option {} must be a number, not \"{}\"", scheme.name, option.name,
                     text);
  }
  if (value < option.least || (value == option.least && !option.least_allowed)) {
    throw_user_error("scheme {}: option {} must be {} {}, not {}", scheme.name, option.name,
                     option.least_allowed ? "at least" : "greater than",
                     shortest_number(option.least), text);
  }
  return shortest_number(value == 0 ? 0.0 : value);
}

std::string checked_value(const SchemeDefinition& scheme, const SchemeOption& option,
                          const std::string& text) {
  if (option.kind == OptionKind::number) return checked_number(scheme, option, text);
  if (option.kind == OptionKind::choice) {
    if (std::find(option.choices.begin(), option.choices.end(), text) == option.choices.end()) {
      throw_user_error("scheme {}: option {} must be {}, not \"{}\"", scheme.name, option.name,
                       fmt::join(option.choices, " or "), text);
    }
    return text;
  }
  if (text != "true" && text != "false") {
    throw_user_error("scheme {}: option {} must be true or false, not \"{}\"", scheme.name,
                     option.name, text);
  }
  return text;
}

/// The values that the call gives, checked, by option.
std::map<std::string, std::string> given_values(const SchemeDefinition& scheme,
                                                const SchemeCall& call) {
  std::map<std::string, std::string> given;
  if (call.positional.size() > scheme.options.size()) {
    throw_user_error("scheme {} takes at most {} options, {} were given", scheme.name,
                     scheme.options.size(), call.positional.size());
  }
  for (size_t i = 0; i < call.positional.size(); ++i) {
    const SchemeOption& option = scheme.options[i];
    given[option.name] = checked_value(scheme, option, call.positional[i]);
  }
  for (const auto& [name, text] : call.named) {
    const SchemeOption& option = find_option(scheme, name);
    if (given.contains(name)) {
      throw_user_error("scheme {}: option {} is given twice", scheme.name, name);
    }
    given[name] = checked_value(scheme, option, text);
  }
  return given;
}

/// The first option stands without its name where the scheme has a single one that is no scale;
/// options at their defaults vanish.
std::string canonical_text(const SchemeDefinition& scheme,
                           const std::map<std::string, std::string>& values) {
  std::vector<std::string> shown;
  for (const SchemeOption& option : scheme.options) {
    const auto found = values.find(option.name);
    if (found == values.end()) continue;
    if (option.default_value == found->second && !option.always_shown) continue;
    const bool nameless = scheme.options.size() == 1 && option.name != scheme.scale_option;
    shown.push_back(nameless ? found->second : option.name + "=" + found->second);
  }
  if (shown.empty()) return scheme.name;
  return fmt::format("{}({})", scheme.name, fmt::join(shown, ", "));
}

}  // namespace

std::string shortest_number(double value) {
  std::array<char, 32> text{};
  const auto [end, error] = std::to_chars(text.data(), text.data() + text.size(), value);
  return {text.data(), end};
}

SchemeText understand_scheme(std::string_view text) {
  const SchemeCall call = parse_scheme_call(text);
  const SchemeDefinition& scheme = find_definition(call.name);
  std::map<std::string, std::string> values = given_values(scheme, call);
  for (const SchemeOption& option : scheme.options) {
    if (option.default_value) values.try_emplace(option.name, *option.default_value);
  }
  std::string canonical = canonical_text(scheme, values);
  return {&scheme, schemes::OptionValues(std::move(values)), std::move(canonical)};
}

}  // namespace ropesweep
