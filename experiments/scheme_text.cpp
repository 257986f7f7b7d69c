// Checks a scheme call against the registry and writes its canonical text.
#include "experiments/scheme_text.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <filesystem>

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
  if (value > option.most) {
    throw_user_error("scheme {}: option {} must be at most {}, not {}", scheme.name, option.name,
                     shortest_number(option.most), text);
  }
  return shortest_number(value == 0 ? 0.0 : value);
}

/// A path that the canonical text can hold.
std::string checked_path(const SchemeDefinition& scheme, const SchemeOption& option,
                         const std::string& path) {
  if (path.find_first_of(",()\"\n") != std::string::npos || path.back() == ' ') {
    throw_user_error(
        "scheme {}: option {}: commas, parentheses and quotes can't be in a path, as in \"{}\"; "
        "rename the file or its directory",
        scheme.name, option.name, path);
  }
  return path;
}

/// The values of one call, checked, in canonical form.
class CallReader {
 public:
  CallReader(const SchemeDefinition& scheme, const PathRule& path_rule)
      : scheme_(scheme), path_rule_(path_rule) {}

  std::map<std::string, std::string> values(const SchemeCall& call) {
    if (call.positional.size() > scheme_.options.size()) {
      throw_user_error("scheme {} takes at most {} options, {} were given", scheme_.name,
                       scheme_.options.size(), call.positional.size());
    }
    std::map<std::string, std::string> given;
    for (size_t i = 0; i < call.positional.size(); ++i) {
      given[scheme_.options[i].name] = checked(scheme_.options[i], call.positional[i]);
    }
    for (const auto& [name, text] : call.named) {
      const SchemeOption& option = find_option(scheme_, name);
      if (given.contains(name)) {
        throw_user_error("scheme {}: option {} is given twice", scheme_.name, name);
      }
      given[name] = checked(option, text);
    }
    for (const SchemeOption& option : scheme_.options) {
      if (given.contains(option.name)) continue;
      if (option.required) {
        throw_user_error("scheme {} needs {}: {}", scheme_.name, option.name, option.meaning);
      }
      if (option.default_value) given[option.name] = checked(option, *option.default_value);
    }
    return given;
  }

  /// Of a modifier, after `values`; null otherwise.
  std::shared_ptr<const SchemeText> inner() const { return inner_; }

 private:
  std::string checked(const SchemeOption& option, const std::string& text) {
    if (option.kind == OptionKind::number) return checked_number(scheme_, option, text);
    if (option.kind == OptionKind::choice) {
      if (std::find(option.choices.begin(), option.choices.end(), text) == option.choices.end()) {
        throw_user_error("scheme {}: option {} must be {}, not \"{}\"", scheme_.name, option.name,
                         fmt::join(option.choices, " or "), text);
      }
      return text;
    }
    if (option.kind == OptionKind::path) {
      return checked_path(scheme_, option, path_rule_(text));
    }
    if (option.kind == OptionKind::scheme) {
      inner_ = std::make_shared<SchemeText>(understand_scheme(text, path_rule_));
      if (!inner_->definition->is_map()) {
        throw_user_error("scheme {}: {} is more than a map of frequencies, and can't be changed",
                         scheme_.name, inner_->definition->name);
      }
      return inner_->canonical;
    }
    if (text != "true" && text != "false") {
      throw_user_error("scheme {}: option {} must be true or false, not \"{}\"", scheme_.name,
                       option.name, text);
    }
    return text;
  }

  const SchemeDefinition& scheme_;
  const PathRule& path_rule_;
  std::shared_ptr<const SchemeText> inner_;
};

/// The first option stands without its name where the scheme has a single one that is no scale, and
/// so do the unnamed ones; options at their defaults vanish.
std::string canonical_text(const SchemeDefinition& scheme,
                           const std::map<std::string, std::string>& values) {
  std::vector<std::string> shown;
  for (const SchemeOption& option : scheme.options) {
    const auto found = values.find(option.name);
    if (found == values.end()) continue;
    if (option.default_value == found->second && !option.always_shown) continue;
    const bool single = scheme.options.size() == 1 && option.name != scheme.scale_option;
    const bool nameless = single || option.unnamed;
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

std::string absolute_path(const std::string& path) {
  return std::filesystem::absolute(path).lexically_normal().string();
}

SchemeText understand_scheme(std::string_view text, const PathRule& path_rule) {
  const SchemeCall call = parse_scheme_call(text);
  const SchemeDefinition& scheme = find_definition(call.name);
  CallReader reader(scheme, path_rule);
  std::map<std::string, std::string> values = reader.values(call);
  std::string canonical = canonical_text(scheme, values);
  SchemeText understood = {&scheme, schemes::OptionValues(std::move(values)), std::move(canonical),
                           reader.inner()};
  if (scheme.shorter == nullptr) return understood;
  const std::string shorter = scheme.shorter(understood.options);
  // Its paths are by the rule already.
  const auto as_it_is = [](const std::string& path) { return path; };
  return shorter.empty() ? understood : understand_scheme(shorter, as_it_is);
}

bool is_static(const SchemeText& scheme) {
  return !scheme.definition->depends_on_length &&
         (scheme.inner == nullptr || is_static(*scheme.inner));
}

bool takes_scale(const SchemeText& scheme) {
  const SchemeDefinition& definition = *scheme.definition;
  if (scheme.inner != nullptr && takes_scale(*scheme.inner)) return true;
  if (!definition.scaled_option.empty()) return scheme.options.boolean(definition.scaled_option);
  if (!definition.takes_scale) return false;
  return definition.scale_option.empty() || !scheme.options.has(definition.scale_option);
}

SchemeText at_scale_one(const SchemeText& scheme) {
  const SchemeDefinition& definition = *scheme.definition;
  if (!takes_scale(scheme) || !is_static(scheme)) return scheme;
  if (scheme.inner == nullptr && definition.scaled_option.empty()) {
    return definition.base_at_scale_one ? understand_scheme(schemes::none_scheme().name) : scheme;
  }
  std::vector<std::string> arguments;
  for (const SchemeOption& option : definition.options) {
    if (option.name == definition.scaled_option || !scheme.options.has(option.name)) continue;
    const bool map = option.kind == OptionKind::scheme;
    arguments.push_back(
        option.name + "=" +
        (map ? at_scale_one(*scheme.inner).canonical : scheme.options.text(option.name)));
  }
  return understand_scheme(fmt::format("{}({})", definition.name, fmt::join(arguments, ", ")));
}

}  // namespace ropesweep
