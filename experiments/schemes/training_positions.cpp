// Schemes that change the positions of training alone; evaluation has 0, 1, 2, … under their map.
//   random (Giraffe, Pal et al. 2023):  t_m = Σ_{n ≤ m} 2·U(0, 1), times L/max(t_last, L) for a
//                                       sequence of L tokens; the base map
//   pose (Zhu et al. 2023):             two chunks of the L tokens, the first of U{1 … ⌈L/2⌉}; the
//                                       second's positions are shifted by U{0 … s·L0 − L}; a map at
//                                       scale s
// U depends on the seed, the sequence's number and the draw's alone, so that a resumed training
// and one over other numbers of ranks draw the same.
#include <algorithm>
#include <cmath>

#include "experiments/scheme_text.h"
#include "experiments/schemes/scheme.h"

namespace ropesweep::schemes {
namespace {

/// SplitMix64's finaliser (Steele et al. 2014).
uint64_t mixed(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

/// Numbers of one sequence, by their own number.
class Draws {
 public:
  Draws(uint64_t seed, int64_t sequence)
      : key_(mixed(mixed(seed + kStep) + kStep * static_cast<uint64_t>(sequence + 1))) {}

  /// In [0, 1).
  double uniform(int64_t draw) const {
    return static_cast<double>(mixed(key_ + kStep * static_cast<uint64_t>(draw + 1)) >> 11) *
           0x1p-53;
  }
  /// One of least … most.
  int64_t between(int64_t draw, int64_t least, int64_t most) const {
    const double values = static_cast<double>(most - least + 1);
    return least + std::min(static_cast<int64_t>(uniform(draw) * values), most - least);
  }

 private:
  static constexpr uint64_t kStep = 0x9e3779b97f4a7c15ULL;
  uint64_t key_;
};

std::vector<double> random_positions(const MapRequest&, int64_t tokens, uint64_t seed,
                                     int64_t sequence) {
  const Draws draws(seed, sequence);
  std::vector<double> positions;
  double sum = 0;
  for (int64_t m = 0; m < tokens; ++m) positions.push_back(sum += 2 * draws.uniform(m));
  const double length = static_cast<double>(tokens);
  for (double& position : positions) position *= length / std::max(sum, length);
  return positions;
}

std::vector<double> pose_positions(const MapRequest& request, int64_t tokens, uint64_t seed,
                                   int64_t sequence) {
  const Draws draws(seed, sequence);
  const auto target = static_cast<int64_t>(request.scale * request.shape.original_length);
  const int64_t split = draws.between(0, 1, (tokens + 1) / 2);
  const int64_t shift = draws.between(1, 0, std::max<int64_t>(target - tokens, 0));
  std::vector<double> positions;
  for (int64_t m = 0; m < tokens; ++m) {
    positions.push_back(static_cast<double>(m < split ? m : m + shift));
  }
  return positions;
}

FrequencyMap pose_map(const MapRequest& request, int64_t length) {
  const SchemeText inner = understand_scheme(request.options.text("map"));
  MapRequest of_inner = request;
  of_inner.options = inner.options;
  return inner.definition->map(of_inner, length);
}

}  // namespace

const SchemeDefinition& random_scheme() {
  static const SchemeDefinition definition = {
      .name = "random",
      .summary =
          "trains with random steps between positions (Giraffe, Pal et al. 2023, "
          "arXiv:2308.10882)",
      .options = {},
      .takes_scale = false,
      .scale_option = "",
      .map = own_map,
      .training_positions = random_positions};
  return definition;
}

const SchemeDefinition& pose_scheme() {
  static const SchemeDefinition definition = {
      .name = "pose",
      .summary =
          "trains on short sequences with a gap between two chunks, up to the scaled length (PoSE, "
          "Zhu et al. 2023, arXiv:2309.10400)",
      .options = {{.name = "map",
                   .default_value = "linear",
                   .meaning = "the frequency map at the scale: linear, ntk, yarn or none",
                   .kind = OptionKind::choice,
                   .choices = {"linear", "ntk", "yarn", "none"}}},
      .scale_option = "",
      .map = pose_map,
      .training_positions = pose_positions};
  return definition;
}

}  // namespace ropesweep::schemes
