// Attention and its gradient as the definition has them, in f64, pair by pair.
#pragma once

#include <algorithm>

#include "tests/worker/backend/attention_case.h"

namespace ropesweep::backend {

/// Softmax of scores row by row, and its gradient.
struct Naive {
  AttentionShape s;
  Values q, k, v, d_out;
  Values bias;  ///< [H, n] or empty
  Values out = Values(q.size()), lse = Values(static_cast<size_t>(s.batch * s.heads * s.queries));
  Values d_q = Values(q.size()), d_k = Values(k.size()), d_v = Values(k.size());
  Values d_bias = Values(bias.size());
  Values d_bias_sizes = Values(bias.size());  ///< the sums of the terms' absolute values

  double dot(const Values& x, size_t i, const Values& y, size_t j) const {
    double sum = 0;
    for (size_t c = 0; c < static_cast<size_t>(s.head_dim); ++c) sum += x[i + c] * y[j + c];
    return sum;
  }

  void add(Values& to, size_t i, double factor, const Values& x, size_t j) const {
    for (size_t c = 0; c < static_cast<size_t>(s.head_dim); ++c) to[i + c] += factor * x[j + c];
  }

  int64_t distance(int64_t t, int64_t j) const {
    return s.first_position.value_or(s.keys - s.queries) + t - j;
  }

  /// Keys that query t sees.
  std::vector<int64_t> seen_by(int64_t t) const {
    std::vector<int64_t> seen;
    for (int64_t j = 0; j < std::min(s.keys, s.first_keys); ++j) {
      if (distance(t, j) >= s.nearest && distance(t, j) < s.farthest) seen.push_back(j);
    }
    return seen;
  }

  /// Where the bias of a pair is; false when it has none.
  bool find_bias(int64_t h, int64_t t, int64_t j, size_t& at) const {
    if (bias.empty() || distance(t, j) < 0) return false;
    const auto n = static_cast<int64_t>(bias.size()) / s.heads;
    at = static_cast<size_t>(h * n + std::min(distance(t, j), n - 1));
    return true;
  }

  void query(int64_t b, int64_t h, int64_t t) {
    const std::vector<int64_t> seen = seen_by(t);
    const auto statistic = static_cast<size_t>((b * s.heads + h) * s.queries + t);
    lse[statistic] = -INFINITY;
    if (seen.empty()) return;
    const auto at = static_cast<size_t>(((b * s.queries + t) * s.heads + h) * s.head_dim);
    const auto key = [&](size_t i) {
      const int64_t kv_head = h / (s.heads / s.kv_heads);
      return static_cast<size_t>(((b * s.keys + seen[i]) * s.kv_heads + kv_head) * s.head_dim);
    };
    Values p(seen.size()), d_p(seen.size());
    size_t place = 0;
    for (size_t i = 0; i < p.size(); ++i) {
      p[i] = dot(q, at, k, key(i)) * double{s.scale};
      if (find_bias(h, t, seen[i], place)) p[i] += bias[place];
    }
    const double most = *std::max_element(p.begin(), p.end());
    double sum = 0;
    for (double& x : p) sum += x = std::exp(x - most);
    lse[statistic] = most + std::log(sum);
    double delta = 0;
    for (size_t i = 0; i < p.size(); ++i) {
      p[i] /= sum;
      add(out, at, p[i], v, key(i));
      d_p[i] = dot(d_out, at, v, key(i));
      delta += p[i] * d_p[i];
    }
    for (size_t i = 0; i < p.size(); ++i) {
      const double d_score = p[i] * (d_p[i] - delta);
      add(d_v, key(i), p[i], d_out, at);
      add(d_q, at, d_score * double{s.scale}, k, key(i));
      add(d_k, key(i), d_score * double{s.scale}, q, at);
      if (!find_bias(h, t, seen[i], place)) continue;
      d_bias[place] += d_score;
      d_bias_sizes[place] += std::abs(d_score);
    }
  }

  void run() {
    for (int64_t b = 0; b < s.batch; ++b) {
      for (int64_t h = 0; h < s.heads; ++h) {
        for (int64_t t = 0; t < s.queries; ++t) query(b, h, t);
      }
    }
  }
};

/// What the definition gives for a case's operands.
inline Naive naive(const Case& run) {
  Naive twin{run.s,
             values_of(run.backend, run.q),
             values_of(run.backend, run.k),
             values_of(run.backend, run.v),
             values_of(run.backend, run.d_out),
             run.bias.empty() ? Values() : values_of(run.backend, run.bias)};
  twin.run();
  return twin;
}

}  // namespace ropesweep::backend
