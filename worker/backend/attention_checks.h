// What the operands of attention, of its gradient and of its merge have to be, for
// checked_backend.cpp. Each throws std::invalid_argument "OP: WHAT" for what doesn't fit.
#pragma once

#include "worker/backend/ops.h"

namespace ropesweep::backend {

/// Those that both directions have. `bias` may be empty.
void check_attention(const char* op, const Tensor& out, const Tensor& lse, const Tensor& q,
                     const Tensor& k, const Tensor& v, const AttentionShape& s, const Tensor& bias);

/// Those of the gradient alone, where check_attention has passed. `d_bias` may be empty.
void check_attention_gradients(const char* op, const Tensor& d_q, const Tensor& d_k,
                               const Tensor& d_v, const Tensor& d_out, const Tensor& q,
                               const Tensor& k, const Tensor& bias, const Tensor& d_bias);

void check_merge_attention(const char* op, const Tensor& out, const Tensor& lse,
                           const Tensor& part_out, const Tensor& part_lse);

}  // namespace ropesweep::backend
