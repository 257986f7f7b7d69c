// How alike a rotated query and key stay over distance: what a scheme does to attention, seen
// without a model (the curves of Su et al. 2021, figure 2, and Chen et al. 2023, figure 2).
#pragma once

#include <cstdint>
#include <vector>

#include "experiments/position_encoding.h"

namespace ropesweep {

/// For each distance j: the mean over `draws` vectors x ~ N(0, 1)^d of (R(j)·x)·(R(0)·x) / d,
/// amplitudes included, the query j tokens after the key, in a sequence of `length` tokens. 1 at
/// distance 0 where the amplitudes are 1. Same seed, same vectors on every machine.
std::vector<double> mean_dot_products(const PositionEncoding& encoding,
                                      const std::vector<int64_t>& distances, int64_t length,
                                      int64_t draws, uint64_t seed);

}  // namespace ropesweep
