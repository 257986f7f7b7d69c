// Checks of the operands of attention (attention_checks.h).
#include "worker/backend/attention_checks.h"

#include "worker/backend/checked_backend.h"

namespace ropesweep::backend {

void check_attention(const char* op, const Tensor& out, const Tensor& lse, const Tensor& q,
                     const Tensor& k, const Tensor& v, const AttentionShape& s,
                     const Tensor& bias) {
  require(s.batch > 0 && s.queries > 0 && s.keys > 0 && s.kv_heads > 0 &&
              s.heads % s.kv_heads == 0 && s.head_dim > 0 && s.head_dim <= 256 && s.scale > 0,
          op, "the shape needs B, T, S, G > 0, G dividing H, 0 < K ≤ 256 and a scale");
  require(s.first_position || s.keys >= s.queries, op,
          "the shape needs S ≥ T, or first_position, the position of the first query");
  const auto in_range = [](int64_t x) { return x >= -kUnlimited && x <= kUnlimited; };
  require(in_range(s.first_position.value_or(0)) && in_range(s.nearest) && in_range(s.farthest) &&
              in_range(s.first_keys),
          op, "first_position, nearest, farthest and first_keys must be within ±kUnlimited");
  require(is_real(q) && q.shape() == Shape{s.batch * s.queries, s.heads, s.head_dim} &&
              is(k, q.dtype(), {s.batch * s.keys, s.kv_heads, s.head_dim}) &&
              is(v, q.dtype(), k.shape()) && is(lse, Dtype::f32, {s.batch, s.heads, s.queries}),
          op, "q [B·T, H, K], k and v [B·S, G, K] and lse f32 [B, H, T] don't fit the shape");
  require(is(out, q.dtype(), q.shape()), op, "out must be like q");
  require(
      s.past.empty() || (is(s.past, Dtype::i32, {1}) && s.batch == 1 && s.queries <= kFewRows &&
                         !s.first_position),
      op,
      "past must be i32 [1], for one sequence, at most kFewRows queries, and no first_position");
  require(bias.empty() || (bias.shape().size() == 2 && bias.dim(1) > 0 &&
                           is(bias, Dtype::f32, {s.heads, bias.dim(1)})),
          op, "the bias must be f32 [H, n], n > 0");
}

void check_attention_gradients(const char* op, const Tensor& d_q, const Tensor& d_k,
                               const Tensor& d_v, const Tensor& d_out, const Tensor& q,
                               const Tensor& k, const Tensor& bias, const Tensor& d_bias) {
  const Dtype dtype = q.dtype();
  require(is(d_out, dtype, q.shape()) && is(d_q, dtype, q.shape()) && is(d_k, dtype, k.shape()) &&
              is(d_v, dtype, k.shape()),
          op, "d_out and d_q must be like q, d_k and d_v like k");
  require(d_bias.empty() || (!bias.empty() && is(d_bias, Dtype::f32, bias.shape())), op,
          "d_bias must be like the bias");
}

void check_merge_attention(const char* op, const Tensor& out, const Tensor& lse,
                           const Tensor& part_out, const Tensor& part_lse) {
  require(is_real(out) && out.shape().size() == 3 && is(part_out, out.dtype(), out.shape()), op,
          "out and part_out must both be [B·T, H, K] in f32 or bf16");
  require(lse.dtype() == Dtype::f32 && lse.shape().size() == 3 && lse.dim(1) == out.dim(1) &&
              lse.dim(0) * lse.dim(2) == out.dim(0) && is(part_lse, Dtype::f32, lse.shape()),
          op, "lse and part_lse must both be f32 [B, H, T]");
}

}  // namespace ropesweep::backend
