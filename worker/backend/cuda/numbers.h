// Numbers on the device: bf16 as two bytes, and loads and stores of several elements at a time with
// arithmetic in f32. Compiles for the host as well (tests/emulation).
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <cstring>

/// Arrays that a thread keeps in registers may be indexed in unrolled loops only.
#ifdef __CUDACC__
#define ROPESWEEP_UNROLL _Pragma("unroll")
#else
#define ROPESWEEP_UNROLL
#endif

namespace ropesweep::backend::cuda {

/// The upper half of an f32.
struct Bf16 {
  uint16_t bits;
};

__host__ __device__ __forceinline__ float to_float(float x) { return x; }
__host__ __device__ __forceinline__ float to_float(Bf16 x) {
  const uint32_t bits = static_cast<uint32_t>(x.bits) << 16;
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

__host__ __device__ __forceinline__ void from_float(float x, float& to) { to = x; }
/// To nearest, ties to even; NaN stays NaN.
__host__ __device__ __forceinline__ void from_float(float x, Bf16& to) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  const uint32_t rounded = (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16;
  to.bits = static_cast<uint16_t>(x != x ? (bits >> 16) | 0x40u : rounded);
}

/// As it is when it has been kept in the type.
template <typename T>
__host__ __device__ __forceinline__ float rounded(float x) {
  T kept;
  from_float(x, kept);
  return to_float(kept);
}

/// Elements that a thread takes at a time where rows and pointers allow it: 16 bytes of bf16.
constexpr int kVector = 8;

/// x[i] = p[i]; V > 1: p is at a multiple of 16 bytes, and the loads have that width.
template <int V, typename T>
__device__ __forceinline__ void load(const T* p, float (&x)[V]) {
  if constexpr (V == 1) {
    x[0] = to_float(*p);
  } else {
    constexpr int kWords = V * static_cast<int>(sizeof(T)) / 16;
    uint4 words[kWords];
    ROPESWEEP_UNROLL
    for (int i = 0; i < kWords; ++i) words[i] = reinterpret_cast<const uint4*>(p)[i];
    T values[V];
    memcpy(values, words, sizeof values);
    ROPESWEEP_UNROLL
    for (int i = 0; i < V; ++i) x[i] = to_float(values[i]);
  }
}

template <int V, typename T>
__device__ __forceinline__ void store(const float (&x)[V], T* p) {
  if constexpr (V == 1) {
    from_float(x[0], *p);
  } else {
    constexpr int kWords = V * static_cast<int>(sizeof(T)) / 16;
    T values[V];
    ROPESWEEP_UNROLL
    for (int i = 0; i < V; ++i) from_float(x[i], values[i]);
    uint4 words[kWords];
    memcpy(words, values, sizeof values);
    ROPESWEEP_UNROLL
    for (int i = 0; i < kWords; ++i) reinterpret_cast<uint4*>(p)[i] = words[i];
  }
}

}  // namespace ropesweep::backend::cuda
