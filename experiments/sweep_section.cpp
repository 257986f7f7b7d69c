// Typed access to the tables of a sweep file.
#include "experiments/sweep_section.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "experiments/nearest_name.h"
#include "experiments/scheme_text.h"

namespace ropesweep {

std::string suggestion(const std::string& word, const std::vector<std::string>& known) {
  const std::string nearest = nearest_name(word, known);
  if (!nearest.empty()) return fmt::format("did you mean \"{}\"?", nearest);
  return known.empty() ? "none is defined" : fmt::format("known: {}", fmt::join(known, ", "));
}

SweepSection::SweepSection(const TomlValue& value, std::string name, SweepOrigin origin)
    : table_(&value), name_(std::move(name)), origin_(std::move(origin)) {
  if (value.kind != TomlValue::Kind::table) {
    fail(value, "must be a table, not {}", describe(value.kind));
  }
}

void SweepSection::fail_at(int64_t line, const std::string& message) const {
  throw_user_error("{}:{}: {}{}{}", origin_.file, line, name_, name_.empty() ? "" : " ", message);
}

std::string SweepSection::text(const TomlValue& value, const std::string& key) const {
  if (value.kind != TomlValue::Kind::text) {
    fail(value, "{} must be text, not {}", key, describe(value.kind));
  }
  if (value.text.empty()) fail(value, "{} must not be empty", key);
  return value.text;
}

int64_t SweepSection::integer(const TomlValue& value, const std::string& key, int64_t least) const {
  if (value.kind != TomlValue::Kind::integer) {
    fail(value, "{} must be a whole number, not {}", key, describe(value.kind));
  }
  if (value.integer < least) {
    fail(value, "{} must be at least {}, not {}", key, least, value.integer);
  }
  return value.integer;
}

double SweepSection::number(const TomlValue& value, const std::string& key,
                            const NumberRange& range) const {
  if (value.kind != TomlValue::Kind::integer && value.kind != TomlValue::Kind::number) {
    fail(value, "{} must be a number, not {}", key, describe(value.kind));
  }
  const bool too_small = range.open ? value.number <= range.least : value.number < range.least;
  const bool too_great = range.below ? value.number >= range.most : value.number > range.most;
  if (too_small || std::isnan(value.number)) {
    fail(value, "{} must be {} {}, not {}", key, range.open ? "greater than" : "at least",
         shortest_number(range.least), shortest_number(value.number));
  }
  if (too_great) {
    fail(value, "{} must be {} {}, not {}", key, range.below ? "less than" : "at most",
         shortest_number(range.most), shortest_number(value.number));
  }
  return value.number;
}

const TomlValue* SweepSection::member(const std::string& key) {
  if (std::find(known_.begin(), known_.end(), key) == known_.end()) known_.push_back(key);
  return table_->find(key);
}

bool SweepSection::read(const std::string& key, std::string& setting) {
  const TomlValue* value = member(key);
  if (value != nullptr) setting = text(*value, key);
  return value != nullptr;
}

bool SweepSection::read(const std::string& key, bool& setting) {
  const TomlValue* value = member(key);
  if (value == nullptr) return false;
  if (value->kind != TomlValue::Kind::boolean) {
    fail(*value, "{} must be true or false, not {}", key, describe(value->kind));
  }
  setting = value->boolean;
  return true;
}

bool SweepSection::read(const std::string& key, int64_t& setting, int64_t least) {
  const TomlValue* value = member(key);
  if (value != nullptr) setting = integer(*value, key, least);
  return value != nullptr;
}

bool SweepSection::read(const std::string& key, double& setting, const NumberRange& range) {
  const TomlValue* value = member(key);
  if (value != nullptr) setting = number(*value, key, range);
  return value != nullptr;
}

bool SweepSection::read(const std::string& key, uint64_t& setting) {
  const TomlValue* value = member(key);
  if (value != nullptr) setting = static_cast<uint64_t>(integer(*value, key, 0));
  return value != nullptr;
}

bool SweepSection::read_choice(const std::string& key, std::string& setting,
                               const std::vector<std::string>& choices) {
  const TomlValue* value = member(key);
  if (value == nullptr) return false;
  const std::string chosen = text(*value, key);
  if (std::find(choices.begin(), choices.end(), chosen) == choices.end()) {
    fail(*value, "{} must be one of {}, not \"{}\"", key, fmt::join(choices, ", "), chosen);
  }
  setting = chosen;
  return true;
}

std::optional<SweepSection> SweepSection::subsection(const std::string& key) {
  const TomlValue* value = member(key);
  if (value == nullptr) return std::nullopt;
  const std::string inside = name_.empty() ? "" : name_.substr(1, name_.size() - 2) + ".";
  return SweepSection(*value, fmt::format("[{}{}]", inside, key), origin_);
}

std::vector<const TomlValue*> SweepSection::values(const std::string& key) {
  const TomlValue* value = member(key);
  if (value == nullptr) return {};
  if (value->kind != TomlValue::Kind::array) return {value};
  if (value->items.empty()) fail(*value, "{} must not be an empty list", key);
  std::vector<const TomlValue*> all;
  for (const TomlValue& item : value->items) all.push_back(&item);
  return all;
}

void SweepSection::reject_unknown() const {
  for (const auto& [key, value] : table_->members) {
    if (std::find(known_.begin(), known_.end(), key) != known_.end()) continue;
    fail(value, "unknown key \"{}\"; {}", key, suggestion(key, known_));
  }
}

namespace {

/// `${NAME}` and `${NAME:-text}` replaced; `unset` gets the name of a variable that is missing.
/// `from_here`: a path that a variable begins is relative to the current directory.
std::string with_variables(const std::string& path, std::string& unset, bool from_here) {
  std::string result;
  size_t at = 0;
  while (at < path.size()) {
    const size_t begin = path.find("${", at);
    const size_t end = begin == std::string::npos ? begin : path.find('}', begin);
    if (end == std::string::npos) break;
    result += path.substr(at, begin - at);
    const std::string inside = path.substr(begin + 2, end - begin - 2);
    const size_t otherwise = inside.find(":-");
    const std::string name = inside.substr(0, otherwise);
    const char* value = std::getenv(name.c_str());
    if (value != nullptr && *value != '\0') {
      const bool begins = from_here && result.empty();
      result += begins ? std::filesystem::absolute(value).string() : value;
    } else if (otherwise != std::string::npos) {
      result += inside.substr(otherwise + 2);
    } else {
      unset = name;
    }
    at = end + 1;
  }
  return result + path.substr(at);
}

}  // namespace

std::string SweepSection::absolute_path(const std::string& text) const {
  std::string unset;
  const std::string path = with_variables(text, unset, origin_.shipped);
  if (!unset.empty()) {
    fail(table(), "\"{}\": the environment variable {} is not set; set it, or write ${{{}:-PATH}}",
         text, unset, unset);
  }
  if (origin_.directory.empty() && std::filesystem::path(path).is_relative()) {
    fail(
        table(),
        "\"{}\" is a path from experiments/sweeps of ropesweep's source tree, and the program "
        "finds that tree neither above itself nor where it was built; {}",
        text,
        text.starts_with("${") ? "set the variable" : "run it from a clone, or a file of your own");
  }
  std::filesystem::path whole = (origin_.directory / path).lexically_normal();
  if (!whole.has_filename()) whole = whole.parent_path();  // "models/x/" is "models/x"
  return whole.string();
}

}  // namespace ropesweep
