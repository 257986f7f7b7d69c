// Rounding to bf16 up or down by chance, so that the mean of many roundings is the number itself
// (Gupta et al. 2015, "Deep Learning with Limited Numerical Precision"; for weights without f32
// masters Zamirai et al. 2020, "Revisiting BFloat16 Training"). The same bits on the host and in
// kernels.
#pragma once

#include <array>
#include <cstdint>

#include "worker/backend/ops.h"
#include "worker/backend/philox.h"

namespace ropesweep::backend {

/// Elements that one call of Philox serves, with 16 bits each.
constexpr int kRoundedTogether = 8;

/// Where a step's random bits come from. Philox's key is the seed, its counter (e / 8, stream,
/// step) for element e of the whole tensor, low words first; element e has the (e mod 8)-th 16
/// bits of the four words.
struct RoundingSource {
  uint64_t seed = 0, first_element = 0;
  uint32_t stream = 0, step = 0;

  constexpr std::array<uint32_t, 4> words(uint64_t element) const {
    const uint64_t block = element / kRoundedTogether;
    return philox({static_cast<uint32_t>(block), static_cast<uint32_t>(block >> 32), stream, step},
                  {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
  }
};

inline RoundingSource rounding_source(const AdamwStep& step) {
  return {.seed = step.seed,
          .first_element = static_cast<uint64_t>(step.first_element),
          .stream = step.stream,
          .step = static_cast<uint32_t>(step.step)};
}

/// The 16 bits of an element, from its block's words.
constexpr uint32_t rounding_bits(const std::array<uint32_t, 4>& words, uint64_t element) {
  const uint64_t place = element % kRoundedTogether;
  return (words[place / 2] >> (16 * (place % 2))) & 0xFFFFU;
}

/// The bits of a bf16 from those of an f32: away from zero with the probability of what is cut off,
/// in units of the last place, else towards it. What bf16 can hold stays; NaN stays NaN.
constexpr uint16_t rounded_by_chance(uint32_t bits, uint32_t chance) {
  const bool nan = (bits & 0x7FFFFFFFU) > 0x7F800000U;
  return static_cast<uint16_t>(nan ? (bits >> 16) | 0x40U : (bits + chance) >> 16);
}

}  // namespace ropesweep::backend
