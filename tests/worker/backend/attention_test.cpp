// Causal attention, forward and backward, against naive loops in f64 (attention_naive.h); its bits
// against the number of queries that follow, and of threads. Bands: attention_band_test.cpp.
#include <gtest/gtest.h>

#include <stdexcept>

#include "tests/worker/backend/attention_naive.h"

namespace ropesweep::backend {
namespace {

class AttentionTest : public OpTest {};
ROPESWEEP_BOTH_TYPES(AttentionTest);

const AttentionShape kShapes[] = {
    shape_of(2, 9, 9, 2, 2, 32),     shape_of(1, 150, 150, 9, 3, 64),
    shape_of(1, 130, 200, 3, 1, 96), shape_of(2, 300, 300, 2, 1, 34),
    shape_of(1, 20, 700, 2, 2, 256), shape_of(1, 128, 640, 1, 1, 128),
    shape_of(1, 40, 50, 2, 1, 20),   shape_of(1, 33, 33, 2, 2, 80),
    shape_of(1, 17, 40, 3, 1, 5),
};

TEST_P(AttentionTest, matches_the_definition) {
  for (const AttentionShape& shape : kShapes) {
    Case run(*backend_, dtype(), shape);
    run.forward();
    const Naive twin = naive(run);
    // Weights are rounded once to the type, outputs once; scores' roundings in f32 grow with K.
    const double sums = 2 + 2 * std::sqrt(static_cast<double>(shape.head_dim));
    expect_close(values(run.out), twin.out, dtype(), 2, sums, "out");
    expect_close(values(run.lse), twin.lse, Dtype::f32, 1, sums, "lse");
  }
}

TEST_P(AttentionTest, decodes_few_queries_as_the_definition_says) {
  for (const int64_t queries : {1, 3, 8}) {
    for (const int64_t keys : {8, 129, 2500}) {
      Case run(*backend_, dtype(), shape_of(2, queries, keys, 6, 2, 40));
      run.forward();
      const Naive twin = naive(run);
      // Sums over thousands of keys, one after the other on some devices.
      expect_close(values(run.out), twin.out, dtype(), 2, 24, "out");
      expect_close(values(run.lse), twin.lse, Dtype::f32, 1, 24, "lse");
    }
  }
}

TEST_P(AttentionTest, decodes_any_heads) {
  for (const AttentionShape& shape : {shape_of(1, 1, 300, 4, 4, 34), shape_of(1, 2, 128, 5, 1, 96),
                                      shape_of(2, 1, 257, 8, 1, 128),
                                      shape_of(1, 8, 130, 6, 1, 256), shape_of(1, 1, 1, 2, 1, 7)}) {
    Case run(*backend_, dtype(), shape);
    run.forward();
    const Naive twin = naive(run);
    const double sums = 4 + 2 * std::sqrt(static_cast<double>(shape.head_dim));
    expect_close(values(run.out), twin.out, dtype(), 2, sums, "out");
    expect_close(values(run.lse), twin.lse, Dtype::f32, 1, sums, "lse");
  }
}

TEST_P(AttentionTest, few_queries_have_the_same_bits_however_many_there_are) {
  const auto last = [&](int64_t queries) {
    Case run(*backend_, dtype(), shape_of(1, 8, 500, 6, 2, 64));
    run.s.queries = queries;
    run.q = run.q.rows(8 - queries, queries);
    run.out = backend_->allocate(dtype(), run.q.shape());
    run.lse = backend_->allocate(Dtype::f32, {1, 6, queries});
    run.forward();
    return bytes_of(*backend_, run.out.rows(queries - 1, 1));
  };
  const std::string expected = last(8);
  for (const int64_t queries : {1, 2, 5}) EXPECT_TRUE(last(queries) == expected) << queries;
}

TEST_P(AttentionTest, large_scores_neither_overflow_nor_vanish) {
  Case run(*backend_, dtype(), shape_of(1, 200, 200, 1, 1, 32), 12.0f);
  run.forward();
  // Scores reach 1,000: their own rounding in f32 moves a weight by up to 1,000 epsilons.
  const Naive twin = naive(run);
  Values difference = values(run.out);
  for (size_t i = 0; i < difference.size(); ++i) difference[i] -= twin.out[i];
  EXPECT_LE(norm_of(difference), (4 * epsilon() + 1000 * 0x1p-23) * norm_of(twin.out));
}

TEST_P(AttentionTest, gradients_match_the_definition) {
  for (const AttentionShape& shape : kShapes) {
    Case run(*backend_, dtype(), shape);
    run.forward();
    run.backward();
    const Naive twin = naive(run);
    // Weights or slopes once, the saved output once, the gradient once.
    const double sums = 5 + 2 * std::sqrt(static_cast<double>(shape.head_dim));
    expect_close(values(run.d_q), twin.d_q, dtype(), 3, sums, "d_q");
    expect_close(values(run.d_k), twin.d_k, dtype(), 3, sums, "d_k");
    expect_close(values(run.d_v), twin.d_v, dtype(), 3, sums, "d_v");
  }
}

TEST_P(AttentionTest, queries_have_the_same_bits_however_many_follow) {
  const auto rows = [&](int64_t tokens) {
    Case run(*backend_, dtype(), shape_of(1, tokens, tokens, 3, 1, 64));
    run.forward();
    return bytes_of(*backend_, run.out);
  };
  const std::string all = rows(1100);
  for (const int64_t tokens : {9, 100, 127, 128, 129, 257, 512, 600, 1000}) {
    const std::string some = rows(tokens);
    EXPECT_TRUE(all.compare(0, some.size(), some) == 0) << tokens << " tokens";
  }
}

TEST_P(AttentionTest, a_cache_gives_the_same_bits_as_the_whole) {
  constexpr int64_t kTokens = 700, kLast = 300, kWidth = 2 * 32;
  Case whole(*backend_, dtype(), shape_of(1, kTokens, kTokens, 2, 2, 32));
  whole.forward();
  Case rest(*backend_, dtype(), shape_of(1, kLast, kTokens, 2, 2, 32));
  rest.q = whole.q.rows(kTokens - kLast, kLast);
  rest.k = whole.k;
  rest.v = whole.v;
  rest.forward();
  const size_t skipped = static_cast<size_t>((kTokens - kLast) * kWidth) * size_of(dtype());
  EXPECT_TRUE(bytes_of(*backend_, whole.out).substr(skipped) == bytes_of(*backend_, rest.out));
}

TEST_P(AttentionTest, threads_dont_change_bits) {
  for (const AttentionShape& shape :
       {shape_of(1, 300, 300, 3, 1, 64), shape_of(2, 1, 3000, 6, 2, 32)}) {
    expect_same_bits_on_any_threads([&](Backend& backend) {
      Case run(backend, dtype(), shape);
      run.forward();
      run.backward();
      return bytes_of(backend, run.out) + bytes_of(backend, run.lse) + bytes_of(backend, run.d_q) +
             bytes_of(backend, run.d_k) + bytes_of(backend, run.d_v);
    });
  }
}

TEST_P(AttentionTest, refuses_shapes_that_dont_fit) {
  Case run(*backend_, dtype(), shape_of(1, 10, 12, 4, 2, 32));
  run.s.keys = 9;
  EXPECT_THROW(run.forward(), std::invalid_argument);
  run.s.keys = 12;
  run.s.kv_heads = 3;
  EXPECT_THROW(run.forward(), std::invalid_argument);
}

}  // namespace
}  // namespace ropesweep::backend
