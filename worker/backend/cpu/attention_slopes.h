// The element-by-element part of attention's gradient: weights and slopes of a tile of keys ×
// queries (Dao 2023, FlashAttention-2, algorithm 2), δ of a query, and the sums of partial
// gradients.
#pragma once

#include "worker/backend/cpu/attention_blocks.h"

namespace ropesweep::backend::cpu {

/// Scores become weights P = 2^(scores·scale − lse), and with dP in d_weights slopes dS = P ∘ (dP −
/// δ), both in f32 or bf16, and zero where a query doesn't see the row's key. lse (in units of
/// log 2) and delta [kPiece]; tiles [keys, kPiece].
void weights_and_slopes(void* weights, void* slopes, bool f32, const float* scores,
                        const float* d_weights, const float* lse, const float* delta, int64_t keys,
                        const SeenQueries& seen, float scale);

/// Σ x[i] · y[i] of rows in f32 or bf16.
float dot_of(const void* x, const void* y, bool f32, int64_t count);

/// out[i] = factor · Σ_p parts[p·stride + i] in the order of p; out in f32 or bf16.
void sum_parts(void* out, bool f32, const float* parts, int64_t stride, int64_t count,
               int64_t width, float factor);

}  // namespace ropesweep::backend::cpu
