// The online softmax of a tile of scores, and a query's output from its sums (Dao 2023,
// FlashAttention-2, algorithm 1). Tiles are stored piece by piece, each [kQueryTile, kPiece].
#pragma once

#include "worker/backend/cpu/attention_blocks.h"

namespace ropesweep::backend::cpu {

/// Scores of `rows` queries against `pieces` pieces of keys become weights p = 2^((s − m)·scale) in
/// f32 or bf16, zero where a key isn't seen; each row's m, l and o[K] are brought up to date.
void softmax_tile(void* weights, bool f32, const float* scores, float* o, float* m, float* l,
                  int64_t rows, int64_t pieces, const SeenKeys& seen, int64_t head_dim,
                  float scale);

/// out[K] = factor · o, in f32 or bf16.
void finish_row(void* out, bool f32, const float* o, float factor, int64_t head_dim);

}  // namespace ropesweep::backend::cpu
