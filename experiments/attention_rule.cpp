// The formulas of attention rules.
#include "experiments/attention_rule.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace ropesweep {

double PositionMap::at(int64_t position) const {
  const int64_t grouped = position % modulus / group;
  return std::min(factor * static_cast<double>(grouped) + offset, most);
}

bool AttentionRule::is_plain() const {
  const AttentionPart& part = parts.front();
  return parts.size() == 1 && part.nearest == 0 && part.farthest == kEveryKey &&
         part.first_keys == kEveryKey && part.chunks == KeyChunks::all &&
         part.query == PositionMap() && part.key == PositionMap() && logarithmic_from == 0 &&
         bias == DistanceBias::none && added == AddedPositions::none && !f32_scores && !interleaved;
}

double AttentionRule::query_amplitude(int64_t position) const {
  if (logarithmic_from == 0) return 1;
  return std::max(1.0, std::log(static_cast<double>(position) + 1) /
                           std::log(static_cast<double>(logarithmic_from)));
}

std::vector<AttentionPart> near_and_far(int64_t window, const PositionMap& query,
                                        const PositionMap& key) {
  return {{.farthest = window}, {.nearest = window, .query = query, .key = key}};
}

std::vector<double> alibi_slopes(int64_t heads) {
  const auto below = static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(heads)));
  std::vector<double> slopes;
  const auto add = [&](int64_t h, int64_t of) {
    slopes.push_back(std::exp2(-8 * static_cast<double>(h) / static_cast<double>(of)));
  };
  for (int64_t h = 1; h <= below; ++h) add(h, below);
  for (int64_t h = 1; below + (h + 1) / 2 <= heads; h += 2) add(h, 2 * below);
  return slopes;
}

int64_t t5_bucket(int64_t distance, int64_t buckets, int64_t max_distance) {
  const int64_t exact = buckets / 2;
  if (distance < exact) return distance;
  const double ratio = std::log(static_cast<double>(distance) / static_cast<double>(exact)) /
                       std::log(static_cast<double>(max_distance) / static_cast<double>(exact));
  const auto beyond = static_cast<int64_t>(ratio * static_cast<double>(buckets - exact));
  return std::min(exact + beyond, buckets - 1);
}

int64_t t5_reach(int64_t buckets, int64_t max_distance) {
  int64_t distance = max_distance;
  while (distance > 0 && t5_bucket(distance - 1, buckets, max_distance) == buckets - 1) --distance;
  return distance;
}

std::vector<float> sinusoidal_vectors(int64_t first, int64_t rows, int64_t width) {
  std::vector<float> vectors;
  vectors.reserve(static_cast<size_t>(rows * width));
  for (int64_t p = first; p < first + rows; ++p) {
    for (int64_t element = 0; element < width; ++element) {
      const int64_t even = element - element % 2;
      const double exponent = static_cast<double>(even) / static_cast<double>(width);
      const double angle = static_cast<double>(p) / std::pow(10000.0, exponent);
      vectors.push_back(static_cast<float>(element % 2 == 0 ? std::sin(angle) : std::cos(angle)));
    }
  }
  return vectors;
}

}  // namespace ropesweep
