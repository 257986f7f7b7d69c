// Builds position encodings from the registry, and tables from their maps.
#include "experiments/position_encoding.h"

#include <cmath>
#include <numeric>
#include <utility>

#include "experiments/error.h"
#include "experiments/scheme_text.h"
#include "experiments/schemes/frequency_file.h"

namespace ropesweep {
namespace {

using schemes::MapRequest;
using schemes::SchemeDefinition;

/// What the scheme computes its map from, its files read.
MapRequest request_of(const SchemeText& scheme, double scale, const RotaryShape& shape,
                      TableArithmetic arithmetic) {
  MapRequest request = {.options = scheme.options,
                        .scale = takes_scale(scheme) ? scale : 1.0,
                        .shape = shape,
                        .arithmetic = arithmetic};
  for (const schemes::SchemeOption& option : scheme.definition->options) {
    if (option.kind != schemes::OptionKind::path || !scheme.options.has(option.name)) continue;
    request.file = std::make_shared<schemes::FrequencyFile>(
        schemes::read_frequency_file(scheme.options.text(option.name)));
  }
  if (scheme.inner != nullptr) {
    const SchemeDefinition& inner = *scheme.inner->definition;
    const MapRequest whole = request_of(*scheme.inner, scale, shape, arithmetic);
    request.inner.name = inner.name;
    request.inner.scale = whole.scale;
    request.inner.map = [&inner, whole](const RotaryShape& changed, int64_t length) {
      MapRequest asked = whole;
      asked.shape = changed;
      return inner.map(asked, length);
    };
  }
  return request;
}

/// A scheme that is a frequency map. A static one is computed once.
class MappedEncoding : public PositionEncoding {
 public:
  /// `name`, `scale` and `shape` as they were asked for.
  MappedEncoding(std::string name, double scale, const RotaryShape& shape, const SchemeText& scheme,
                 MapRequest request)
      : PositionEncoding(std::move(name), scale, shape),
        definition_(*scheme.definition),
        request_(std::move(request)),
        static_(is_static(scheme)) {
    if (static_) static_map_ = definition_.map(request_, 0);
    if (definition_.rule != nullptr) rule_ = definition_.rule(request_);
  }

  FrequencyMap map(int64_t length) const override {
    return static_ ? static_map_ : definition_.map(request_, length);
  }

  bool depends_on_length() const override { return !static_; }

  const AttentionRule& attention_rule() const override { return rule_; }

  RotaryTable table_at(std::span<const double> positions, int64_t length) const override {
    RotaryTable table = PositionEncoding::table_at(positions, length);
    if (definition_.log_amplitude != nullptr) multiply_amplitudes(table, positions);
    return table;
  }

  std::vector<double> training_positions(int64_t tokens, uint64_t seed,
                                         int64_t sequence) const override {
    if (definition_.training_positions == nullptr) return {};
    return definition_.training_positions(request_, tokens, seed, sequence);
  }

  std::shared_ptr<const PositionEncoding> at_step(int64_t step) const override {
    if (definition_.options_at_step == nullptr) return nullptr;
    auto options = definition_.options_at_step(request_, step);
    if (!options) return nullptr;
    auto changed = std::make_shared<MappedEncoding>(*this);
    changed->request_.options = std::move(*options);
    if (static_) changed->static_map_ = definition_.map(changed->request_, 0);
    if (definition_.rule != nullptr) changed->rule_ = definition_.rule(changed->request_);
    return changed;
  }

 private:
  void multiply_amplitudes(RotaryTable& table, std::span<const double> positions) const {
    // Products with values near 1 must stay floats, and a float's sum of a head's products too.
    constexpr double most = 60;
    size_t at = 0;
    for (const double position : positions) {
      for (int64_t pair = 0; pair < table.pairs; ++pair, ++at) {
        const double logarithm = definition_.log_amplitude(request_, pair, position);
        if (std::abs(logarithm) > most) {
          throw_user_error(
              "scheme {}: at position {} its amplitudes are past float32's range; choose a greater "
              "B, or a center in the middle of the sequence",
              scheme(), position);
        }
        const auto query = static_cast<float>(std::exp(logarithm));
        const auto key = static_cast<float>(std::exp(-logarithm));
        table.query_cos[at] *= query;
        table.query_sin[at] *= query;
        table.key_cos[at] *= key;
        table.key_sin[at] *= key;
      }
    }
  }

  const SchemeDefinition& definition_;
  MapRequest request_;
  bool static_;
  FrequencyMap static_map_;
  AttentionRule rule_;
};

/// ⌊share·d⌋, as transformers counts them.
int64_t rotated_elements(const RotaryShape& shape) {
  return static_cast<int64_t>(static_cast<double>(shape.head_dim) * shape.rotary_fraction);
}

void check_request(double scale, const RotaryShape& shape) {
  // Products of both, and tokens, are counted in 64 bits.
  constexpr double greatest_scale = 1e6, greatest_length = 1e12;
  if (!(scale >= 1) || !std::isfinite(scale)) {
    throw_user_error("a scale must be a number of at least 1, not {}", shortest_number(scale));
  }
  if (scale > greatest_scale) {
    throw_user_error("a scale must be at most {}, not {}", shortest_number(greatest_scale),
                     shortest_number(scale));
  }
  if (shape.head_dim < 4 || shape.head_dim % 2 != 0) {
    throw_user_error("a head dimension must be even and at least 4, not {}", shape.head_dim);
  }
  const bool is_share = shape.rotary_fraction >= 0 && shape.rotary_fraction <= 1;
  const int64_t rotated = is_share ? rotated_elements(shape) : 0;
  if (rotated < 4 || rotated % 2 != 0) {
    throw_user_error(
        "a rotated share of {} of a head of {} elements must give an even number of at least 4",
        shortest_number(shape.rotary_fraction), shape.head_dim);
  }
  if (!(shape.base > 1) || !std::isfinite(shape.base)) {
    throw_user_error("a rotary base must be greater than 1, not {}", shortest_number(shape.base));
  }
  if (!(shape.original_length >= 1) || !std::isfinite(shape.original_length)) {
    throw_user_error("an original length must be at least 1 token, not {}",
                     shortest_number(shape.original_length));
  }
  if (shape.original_length > greatest_length) {
    throw_user_error("an original length must be at most {} tokens, not {}",
                     shortest_number(greatest_length), shortest_number(shape.original_length));
  }
}

}  // namespace

PositionEncoding::PositionEncoding(std::string scheme, double scale, RotaryShape shape)
    : scheme_(std::move(scheme)), scale_(scale), shape_(std::move(shape)) {}

const AttentionRule& PositionEncoding::attention_rule() const {
  static const AttentionRule plain;
  return plain;
}

std::shared_ptr<const PositionEncoding> PositionEncoding::at_step(int64_t) const { return nullptr; }

std::vector<double> PositionEncoding::training_positions(int64_t, uint64_t, int64_t) const {
  return {};
}

RotaryTable PositionEncoding::table(int64_t first, int64_t rows, int64_t length) const {
  std::vector<double> positions(static_cast<size_t>(rows));
  std::iota(positions.begin(), positions.end(), static_cast<double>(first));
  return table_at(positions, length);
}

RotaryTable PositionEncoding::table_at(std::span<const double> positions, int64_t length) const {
  const FrequencyMap frequencies = map(length);
  RotaryTable table;
  table.rows = static_cast<int64_t>(positions.size());
  table.pairs = static_cast<int64_t>(frequencies.inv_freq.size());
  const size_t size = positions.size() * frequencies.inv_freq.size();
  for (auto* column : {&table.query_cos, &table.query_sin, &table.key_cos, &table.key_sin}) {
    column->resize(size);
  }
  size_t at = 0;
  for (const double position : positions) {
    for (const double frequency : frequencies.inv_freq) {
      const double angle = position * frequency;
      const double cosine = std::cos(angle);
      const double sine = std::sin(angle);
      table.query_cos[at] = static_cast<float>(frequencies.query_amplitude * cosine);
      table.query_sin[at] = static_cast<float>(frequencies.query_amplitude * sine);
      table.key_cos[at] = static_cast<float>(frequencies.key_amplitude * cosine);
      table.key_sin[at] = static_cast<float>(frequencies.key_amplitude * sine);
      ++at;
    }
  }
  return table;
}

const std::vector<SchemeInfo>& all_schemes() {
  static const std::vector<SchemeInfo> infos = [] {
    std::vector<SchemeInfo> all;
    for (const SchemeDefinition* definition : schemes::definitions()) {
      SchemeInfo info = {definition->name, definition->summary, {}, definition->takes_scale};
      for (const schemes::SchemeOption& option : definition->options) {
        const std::string value = option.default_value ? "=" + *option.default_value : "";
        info.options.push_back(option.name + value + ": " + option.meaning);
      }
      all.push_back(std::move(info));
    }
    return all;
  }();
  return infos;
}

std::string canonical_scheme(std::string_view text) { return understand_scheme(text).canonical; }

std::string canonical_scheme(std::string_view text, const PathRule& path_rule) {
  return understand_scheme(text, path_rule).canonical;
}

std::vector<std::string> scheme_files(std::string_view text) {
  std::vector<std::string> files;
  understand_scheme(text, [&](const std::string& path) {
    files.push_back(absolute_path(path));
    return files.back();
  });
  return files;
}

bool scheme_takes_scale(std::string_view text) { return takes_scale(understand_scheme(text)); }

bool scheme_is_static(std::string_view text) { return is_static(understand_scheme(text)); }

std::string scheme_at_scale_one(std::string_view text) {
  return at_scale_one(understand_scheme(text)).canonical;
}

std::shared_ptr<const PositionEncoding> make_position_encoding(std::string_view scheme,
                                                               double scale,
                                                               const RotaryShape& shape,
                                                               TableArithmetic arithmetic) {
  check_request(scale, shape);
  const SchemeText asked = understand_scheme(scheme);
  const double used_scale = takes_scale(asked) ? scale : 1.0;
  const SchemeText computed = used_scale == 1 ? at_scale_one(asked) : asked;
  RotaryShape rotated = shape;
  rotated.head_dim = rotated_elements(shape);
  rotated.rotary_fraction = 1;
  return std::make_shared<MappedEncoding>(asked.canonical, used_scale, shape, computed,
                                          request_of(computed, used_scale, rotated, arithmetic));
}

}  // namespace ropesweep
