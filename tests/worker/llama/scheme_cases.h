// Schemes that change attention as their papers define them, pair by pair, for NaiveLlama.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "tests/worker/llama/naive_llama.h"

namespace ropesweep::llama {

struct SchemeCase {
  const char* scheme;
  int64_t tokens;
  std::function<NaivePair(int64_t m, int64_t n, int64_t head)> pair;
  bool interleaved = false;
};

inline double as_double(int64_t x) { return static_cast<double>(x); }

/// ln(m + 1) / ln 256, at least 1: the fixtures' original length is 256.
inline double logarithmic(int64_t m) {
  return std::max(1.0, std::log(as_double(m) + 1) / std::log(256.0));
}

/// Dual chunk attention with chunks of c and a greatest position s.
inline NaivePair dual_chunk(int64_t m, int64_t n, int64_t c, int64_t s) {
  const int64_t apart = m / c - n / c;
  const int64_t query = apart == 0   ? m % c
                        : apart == 1 ? std::min(m % c + c, s)
                                     : std::min(2 * c - 1, s);
  return {.turned = as_double(query - n % c)};
}

/// Some of these lengths end a few tokens past a border: those few queries are a block of theirs.
inline const std::vector<SchemeCase>& scheme_cases() {
  static const std::vector<SchemeCase> all = {
      // 9 heads: the slopes of 8, and the first of 16.
      {"alibi", 140,
       [](int64_t m, int64_t n, int64_t head) {
         const double slope = head < 8 ? std::pow(2.0, -as_double(head + 1)) : std::pow(2.0, -0.5);
         return NaivePair{.bias = -slope * as_double(m - n)};
       }},
      {"rerope(16)", 140,
       [](int64_t m, int64_t n, int64_t) {
         return NaivePair{.turned = as_double(std::min<int64_t>(m - n, 16)),
                          .amplitude = logarithmic(m)};
       }},
      {"rerope(200)", 300,
       [](int64_t m, int64_t n, int64_t) {
         return NaivePair{.turned = as_double(std::min<int64_t>(m - n, 200)),
                          .amplitude = logarithmic(m)};
       }},
      {"leaky-rerope(w=20, k=3)", 140,
       [](int64_t m, int64_t n, int64_t) {
         const int64_t j = m - n;
         return NaivePair{.turned = j < 20 ? as_double(j) : 20 + as_double(j - 20) / 3,
                          .amplitude = logarithmic(m)};
       }},
      {"self-extend(G=4, W=18)", 140,
       [](int64_t m, int64_t n, int64_t) {
         const int64_t far = m / 4 - n / 4 + 18 - 18 / 4;
         return NaivePair{.turned = as_double(m - n < 18 ? m - n : far)};
       }},
      {"dca(size=48, window=12)", 147,
       [](int64_t m, int64_t n, int64_t) { return dual_chunk(m, n, 36, 48); }},
      {"dca(size=20, window=0)", 87,
       [](int64_t m, int64_t n, int64_t) { return dual_chunk(m, n, 20, 20); }},
      {"lm-infinite(first=3, window=20)", 300,
       [](int64_t m, int64_t n, int64_t) {
         return NaivePair{.seen = m - n < 20 || n < 3,
                          .turned = as_double(std::min<int64_t>(m - n, 256))};
       }},
      {"lm-infinite(first=2, window=270)", 300,
       [](int64_t m, int64_t n, int64_t) {
         return NaivePair{.seen = m - n < 270 || n < 2,
                          .turned = as_double(std::min<int64_t>(m - n, 256))};
       }},
      {"streaming(first=4, window=30)", 140,
       [](int64_t m, int64_t n, int64_t) {
         const bool recent = m - n < 30;
         return NaivePair{
             .seen = recent || n < 4,
             .turned = as_double(recent ? m - n : std::min<int64_t>(m, 4 + 30 - 1) - n)};
       }},
      {"streaming(first=0, window=17)", 70,
       [](int64_t m, int64_t n, int64_t) {
         return NaivePair{.seen = m - n < 17, .turned = as_double(m - n)};
       }},
      {"xpos(B=64)", 140,
       [](int64_t m, int64_t n, int64_t) {
         return NaivePair{.turned = as_double(m - n), .decay = as_double(m - n) / 64};
       }},
      {"xpos(B=128, center=50, layout=interleaved)", 140,
       [](int64_t m, int64_t n, int64_t) {
         return NaivePair{.turned = as_double(m - n), .decay = as_double(m - n) / 128};
       },
       true},
      {"sinusoidal", 90, [](int64_t, int64_t, int64_t) { return NaivePair{}; }},
  };
  return all;
}

inline NaiveScheme naive_scheme(const SchemeCase& test, int64_t width) {
  NaiveScheme scheme{.pair = test.pair, .interleaved = test.interleaved};
  if (std::string(test.scheme) == "sinusoidal") {
    scheme.added = [width](int64_t m, int64_t e) {
      const double angle =
          as_double(m) * std::pow(10000.0, -as_double(e - e % 2) / as_double(width));
      return e % 2 == 0 ? std::sin(angle) : std::cos(angle);
    };
  }
  return scheme;
}

/// Letters and digits of the scheme, for a test's name.
inline std::string name_of_case(const SchemeCase& test) {
  std::string name;
  for (const char letter : std::string(test.scheme)) {
    if (std::isalnum(static_cast<unsigned char>(letter)) != 0) name += letter;
  }
  return name;
}

}  // namespace ropesweep::llama
