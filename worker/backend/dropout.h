// Which elements dropout (Srivastava et al. 2014) leaves out: a function of seed, stream, step and
// the element's place, so that a backward pass, another device or another split of the rows draws
// the same. The same bits on the host and in kernels.
#pragma once

#include <array>
#include <cstdint>

#include "worker/backend/ops.h"
#include "worker/backend/philox.h"

namespace ropesweep::backend {

/// Elements that one call of Philox serves, a word each.
constexpr uint64_t kDroppedTogether = 4;

/// Philox's key is the seed, its counter (e / 4, stream, step) for element e, low words first;
/// element e has the (e mod 4)-th word, and is kept when that is not below the probability's part
/// of 2³².
struct DropoutMask {
  uint64_t seed = 0, first_element = 0;
  uint32_t stream = 0, step = 0;
  uint32_t threshold = 0;
  float factor = 1;  ///< of what is kept: the mean stays

  constexpr std::array<uint32_t, 4> words(uint64_t block) const {
    return philox({static_cast<uint32_t>(block), static_cast<uint32_t>(block >> 32), stream, step},
                  {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
  }
  /// The factors of `count` elements from element `first` of the tensor on.
  constexpr void factors(uint64_t first, int count, float* to) const {
    std::array<uint32_t, 4> drawn = {};
    for (int i = 0; i < count; ++i) {
      const uint64_t element = first_element + first + static_cast<uint64_t>(i);
      const uint64_t place = element % kDroppedTogether;
      if (i == 0 || place == 0) drawn = words(element / kDroppedTogether);
      to[i] = drawn[place] < threshold ? 0.0F : factor;
    }
  }
};

inline DropoutMask dropout_mask(const Dropout& dropout) {
  const double probability = dropout.probability;
  return {.seed = dropout.seed,
          .first_element = static_cast<uint64_t>(dropout.first_element),
          .stream = dropout.stream,
          .step = dropout.step,
          .threshold = static_cast<uint32_t>(probability * 4294967296.0),
          .factor = static_cast<float>(1 / (1 - probability))};
}

}  // namespace ropesweep::backend
