// Counter-based normal numbers: element e is a function of (seed, stream, e) alone.
//
// Philox's key is the seed; its counter is (e / 4, stream), low words first. Words 0 and 1 make
// elements 4i and 4i + 1 by Box and Muller, words 2 and 3 the next two; computed in f64, rounded
// once.
#include <array>
#include <cmath>
#include <numbers>

#include "worker/backend/cpu/bf16.h"
#include "worker/backend/cpu/cpu_backend.h"
#include "worker/backend/cpu/parallel.h"
#include "worker/backend/philox.h"

namespace ropesweep::backend::cpu {

namespace {

constexpr double kTwoPow32 = 4294967296.0;

/// Two standard normals of two words (Box & Muller 1958); the first word never makes log(0).
std::array<double, 2> normal_pair(uint32_t word0, uint32_t word1) {
  const double radius = std::sqrt(-2.0 * std::log((word0 + 1.0) / kTwoPow32));
  const double angle = 2.0 * std::numbers::pi * (word1 / kTwoPow32);
  return {radius * std::cos(angle), radius * std::sin(angle)};
}

std::array<double, 4> normals(uint64_t block, uint64_t seed, uint64_t stream) {
  const auto words = philox({static_cast<uint32_t>(block), static_cast<uint32_t>(block >> 32),
                             static_cast<uint32_t>(stream), static_cast<uint32_t>(stream >> 32)},
                            {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
  const auto [a, b] = normal_pair(words[0], words[1]);
  const auto [c, d] = normal_pair(words[2], words[3]);
  return {a, b, c, d};
}

template <typename T>
void fill(T* x, int64_t first, int64_t last, uint64_t seed, uint64_t stream, float deviation) {
  for (int64_t element = first; element < last; element += 4) {
    const auto values = normals(static_cast<uint64_t>(element / 4), seed, stream);
    for (int64_t i = 0; i < std::min<int64_t>(4, last - element); ++i) {
      const double value = values[static_cast<size_t>(i)] * double{deviation};
      from_float(static_cast<float>(value), x[element + i]);
    }
  }
}

}  // namespace

void CpuBackend::random_normal(const Tensor& x, uint64_t seed, uint64_t stream, float deviation) {
  parallel_ranges(threads_, x.elements(), 1024, [&](int64_t first, int64_t last) {
    if (x.dtype() == Dtype::f32) {
      fill(x.data<float>(), first, last, seed, stream, deviation);
    } else {
      fill(x.data<Bf16>(), first, last, seed, stream, deviation);
    }
  });
}

}  // namespace ropesweep::backend::cpu
