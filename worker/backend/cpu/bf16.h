// bfloat16 as stored, and its conversions one at a time. The vector forms are in simd-inl.h.
#pragma once

#include <bit>
#include <cstdint>

namespace ropesweep::backend::cpu {

/// The upper half of an f32.
struct Bf16 {
  uint16_t bits;
};

inline float to_float(float x) { return x; }
inline float to_float(Bf16 x) { return std::bit_cast<float>(static_cast<uint32_t>(x.bits) << 16); }

/// To the nearest, ties to even; a NaN stays a (quiet) NaN.
inline Bf16 to_bf16(float x) {
  const auto bits = std::bit_cast<uint32_t>(x);
  if ((bits & 0x7FFFFFFFU) > 0x7F800000U) return {static_cast<uint16_t>((bits >> 16) | 0x40U)};
  return {static_cast<uint16_t>((bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16)};
}

inline void from_float(float x, float& to) { to = x; }
inline void from_float(float x, Bf16& to) { to = to_bf16(x); }

}  // namespace ropesweep::backend::cpu
