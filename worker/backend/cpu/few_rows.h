// Products of few rows, as when one token is decoded: bound by reading the weight, so nothing is
// packed.
#pragma once

#include <cstdint>

#include "worker/backend/ops.h"

namespace ropesweep::backend::cpu {

/// out[R, N] = a[R, M] · weight[N, M]ᵀ (+ out), R ≤ kFewRows, any mix of f32 and bf16. Each row's
/// bits are its own, whatever R is, but differ from those of the tiled product.
void product_of_few_rows(const Tensor& out, const Tensor& a, const Tensor& weight, bool accumulate,
                         int threads);

}  // namespace ropesweep::backend::cpu
