// Operands and results of attention, for the tests that run it.
#pragma once

#include <string>

#include "tests/worker/backend/support.h"

namespace ropesweep::backend {

inline AttentionShape shape_of(int64_t batch, int64_t queries, int64_t keys, int64_t heads,
                               int64_t kv_heads, int64_t head_dim) {
  return {
      batch, queries, keys, heads, kv_heads, head_dim, 1 / std::sqrt(static_cast<float>(head_dim))};
}

/// Operands and results of one shape on a backend.
struct Case {
  Case(Backend& on, Dtype dtype, const AttentionShape& shape, float deviation = 1.0f)
      : backend(on), s(shape) {
    q = normal(on, dtype, {s.batch * s.queries, s.heads, s.head_dim}, 1, deviation);
    k = normal(on, dtype, {s.batch * s.keys, s.kv_heads, s.head_dim}, 2, deviation);
    v = normal(on, dtype, k.shape(), 3);
    d_out = normal(on, dtype, q.shape(), 4);
    out = on.allocate(dtype, q.shape());
    lse = on.allocate(Dtype::f32, {s.batch, s.heads, s.queries});
    d_q = on.allocate(dtype, q.shape());
    d_k = on.allocate(dtype, k.shape());
    d_v = on.allocate(dtype, k.shape());
  }
  /// A random bias over `distances`, and zeros for its gradient.
  void add_bias(int64_t distances) {
    bias = normal(backend, Dtype::f32, {s.heads, distances}, 5);
    d_bias = filled(backend, Dtype::f32, bias.shape(), 0);
  }
  void forward() { backend.attention(out, lse, q, k, v, s, bias); }
  void backward() {
    backend.attention_backward(d_q, d_k, d_v, d_out, q, k, v, out, lse, s, bias, d_bias);
  }
  /// All results, to the bit.
  std::string bits() {
    std::string all;
    for (const Tensor& x : {out, lse, d_q, d_k, d_v}) all += bytes_of(backend, x);
    if (!d_bias.empty()) all += bytes_of(backend, d_bias);
    return all;
  }

  Backend& backend;
  AttentionShape s;
  Tensor q, k, v, d_out, out, lse, d_q, d_k, d_v;
  Tensor bias, d_bias;  ///< empty: none
};

}  // namespace ropesweep::backend
