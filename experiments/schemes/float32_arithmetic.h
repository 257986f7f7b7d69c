// Float32 arithmetic as PyTorch does it on a CPU, so that `--hf-bits` gives transformers'
// frequencies to the last bit. Only powers need care: everything else is one IEEE operation an
// element.
#pragma once

#include <cstdint>
#include <vector>

#include "experiments/position_encoding.h"

namespace ropesweep::schemes {

/// Elements that PyTorch's loops take at a time on this machine: two vectors of the widest kind
/// that it uses (AVX-512: 32, AVX2: 16, NEON: 8).
int64_t float32_chunk();

/// `base ** (torch.arange(0, 2 * pairs, 2) / dim)` in float32, [pairs] (dim / 2 when negative), as
/// a machine with this chunk does it.
std::vector<float> float32_wavelengths(int64_t dim, float base, int64_t chunk = float32_chunk(),
                                       int64_t pairs = -1);

/// `1.0 / float32_wavelengths(dim, base)`: the inverse frequencies of transformers' default type.
std::vector<float> float32_frequencies(int64_t dim, float base);

/// A map whose values are float32 numbers.
FrequencyMap float32_map(const std::vector<float>& inv_freq, double attention_factor = 1.0);

/// SLEEF's powf with an error below 1 ulp (`Sleef_powf_u10`, FMA variant) for x > 0 and a finite,
/// normal result: what PyTorch's vector loops call.
float sleef_powf(float x, float y);

}  // namespace ropesweep::schemes
