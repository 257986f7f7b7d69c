// Random numbers of the built data sets: integers only, the same on every machine.
// SplitMix64 (Steele, Lea & Flood 2014), started from (seed, stream, index), so that each record is
// drawn on its own, whatever came before it.
#pragma once

#include <bit>
#include <cstdint>
#include <string_view>

namespace ropesweep::data {

class Random {
 public:
  /// `stream` names what is drawn, `index` which one of it.
  Random(uint64_t seed, std::string_view stream, int64_t index) : state_(mix(seed + golden)) {
    for (const char c : stream) state_ = mix(state_ ^ static_cast<unsigned char>(c));
    state_ = mix(state_ ^ static_cast<uint64_t>(index));
  }

  uint64_t next() { return mix(state_ += golden); }

  /// Uniform in [0, bound), bound ≥ 1; without bias, by rejection.
  int64_t below(int64_t bound) {
    const auto range = static_cast<uint64_t>(bound);
    const uint64_t rejected = (0 - range) % range;  // 2^64 mod range
    uint64_t draw = next();
    while (draw < rejected) draw = next();
    return static_cast<int64_t>(draw % range);
  }

  /// Uniform in [least, most].
  int64_t between(int64_t least, int64_t most) { return least + below(most - least + 1); }

  /// True in `percent` of 100 draws.
  bool chance(int64_t percent) { return below(100) < percent; }

  /// In [1, most], each power of two as likely as the next: all distances, near and far.
  int64_t log_uniform(int64_t most) {
    const auto octaves = static_cast<int64_t>(std::bit_width(static_cast<uint64_t>(most)));
    const int64_t first = int64_t{1} << below(octaves);
    return between(first, first * 2 - 1 < most ? first * 2 - 1 : most);
  }

  /// An element of an array or vector.
  template <typename List>
  const auto& pick(const List& list) {
    return list[static_cast<size_t>(below(static_cast<int64_t>(std::size(list))))];
  }

  static uint64_t mix(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
  }

 private:
  static constexpr uint64_t golden = 0x9E3779B97F4A7C15ull;
  uint64_t state_;
};

/// Where `index` of `count` goes in the permutation that `key` names: a Feistel network over the
/// next even power of two, walked until it lands inside (Black & Rogaway 2002). No table, any
/// count.
inline int64_t permuted(int64_t index, int64_t count, uint64_t key) {
  const auto size = static_cast<uint64_t>(count);
  const int half = (static_cast<int>(std::bit_width(size)) + 1) / 2;
  const uint64_t mask = (uint64_t{1} << half) - 1;
  auto value = static_cast<uint64_t>(index);
  do {
    uint64_t left = value >> half, right = value & mask;
    for (uint64_t round = 0; round < 4; ++round) {
      const uint64_t mixed = left ^ (Random::mix(key ^ Random::mix(right ^ (round << 60))) & mask);
      left = right;
      right = mixed;
    }
    value = (left << half) | right;
  } while (value >= size);
  return static_cast<int64_t>(value);
}

}  // namespace ropesweep::data
