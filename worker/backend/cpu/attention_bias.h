// The bias of attention scores by distance (ALiBi: Press 2021; T5: Raffel 2020), and its gradient.
//
// A pair at distance e ≥ 0 has the bias of the head at min(e, n − 1), one at e < 0 has none. Along
// a row of a tile the distance changes by one from column to column, so that each row is three
// runs: one without a bias, one that reads it as it lies (or backward), one with its last element.
#pragma once

#include <cstdint>

#include "worker/backend/cpu/attention_blocks.h"

namespace ropesweep::backend::cpu {

/// A head's row of the bias f32 [H, n]; count = n, 0 where there is no bias.
struct HeadBias {
  const float* data = nullptr;
  int64_t count = 0;
};

inline HeadBias bias_of_head(const Tensor& bias, int64_t head) {
  if (bias.empty()) return {};
  return {bias.data<float>() + head * bias.dim(1), bias.dim(1)};
}

/// scores[i, j] ← scale · scores[i, j] + bias of the pair, for a tile of `rows` × `columns`, rows
/// kPiece apart. The pair (0, 0) is at `distance`; a column adds `step` = ±1 to it, a row −step.
void add_bias(float* scores, int64_t rows, int64_t columns, int64_t distance, int64_t step,
              float scale, const HeadBias& bias);

/// A tile of keys × queries of the backward pass, for the bias's gradient. Pointers: as
/// weights_and_slopes (attention_slopes.h) has them; scores in natural units, biased.
struct BiasGradientTile {
  const float *scores, *d_weights, *lse, *delta;
  SeenQueries seen;
  int64_t rows;
  int64_t distance;  ///< of the pair (0, 0); a column adds one, a row takes one off
};

/// sums[min(e, n − 1)] += dS of each pair of the tile at distance e ≥ 0; sums f32 [n]. In the order
/// of rows, then columns.
void add_bias_gradient(float* sums, int64_t n, const BiasGradientTile& tile);

}  // namespace ropesweep::backend::cpu
