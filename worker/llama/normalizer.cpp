// Normalizers that need no Unicode tables.
#include "worker/llama/normalizer.h"

namespace ropesweep::llama {
namespace {

constexpr int deepest_sequence = 8;

std::string replace_all(std::string_view text, const std::string& from, const std::string& to) {
  std::string result;
  size_t at = 0;
  for (size_t found; (found = text.find(from, at)) != std::string_view::npos;) {
    result.append(text.substr(at, found - at)).append(to);
    at = found + from.size();
  }
  return result.append(text.substr(at));
}

}  // namespace

Normalizer::Normalizer(const JsonPlace& normalizer) {
  if (!normalizer.is_null()) read(normalizer, 0);
}

void Normalizer::read(const JsonPlace& place, int depth) {
  if (depth > deepest_sequence) place.fail("sequences are nested too deeply");
  const std::string& type = place.at("type").string();
  if (type == "Sequence") {
    const JsonPlace parts = place.at("normalizers");
    for (size_t i = 0; i < parts.size(); ++i) read(parts.at(i), depth + 1);
  } else if (type == "Prepend") {
    steps_.push_back({"", place.at("prepend").string()});
  } else if (type == "Replace" && place.at("pattern").has("String")) {
    steps_.push_back({place.at("pattern").at("String").string(), place.at("content").string()});
    if (steps_.back().from.empty()) place.at("pattern").fail("is empty");
  } else {
    place.at("type").fail(fmt::format(
        "'{}' is not supported; expected null, Prepend, Replace of a String or a Sequence of these",
        type));
  }
}

std::string Normalizer::normalize(std::string_view text) const {
  std::string result(text);
  for (const Step& step : steps_) {
    if (!step.from.empty()) {
      result = replace_all(result, step.from, step.to);
    } else if (!result.empty()) {
      result.insert(0, step.to);
    }
  }
  return result;
}

}  // namespace ropesweep::llama
