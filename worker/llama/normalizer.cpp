// Normalizers as functions from text to text, one after the other.
#include "worker/llama/normalizer.h"

#include "worker/llama/growth.h"
#include "worker/llama/replacement.h"
#include "worker/llama/unicode_normalization.h"

namespace ropesweep::llama {
namespace {

constexpr int deepest_sequence = 8;

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
    steps_.emplace_back([prefix = place.at("prepend").string()](std::string_view text) {
      return text.empty() ? std::string() : prefix + std::string(text);
    });
  } else if (type == "Replace") {
    steps_.emplace_back(read_replacement(place));
  } else if (type == "NFC") {
    if (!can_compose()) place.at("type").fail("'NFC' needs libutf8proc, which this build lacks");
    steps_.emplace_back(compose);
  } else {
    place.at("type").fail(fmt::format(
        "'{}' is not supported; expected null, NFC, Prepend, Replace or a Sequence of these",
        type));
  }
}

std::string Normalizer::normalize(std::string_view text) const {
  std::string result(text);
  for (const auto& step : steps_) {
    result = step(result);
    check_growth(text.size(), result.size());
  }
  return result;
}

}  // namespace ropesweep::llama
