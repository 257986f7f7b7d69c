// Attention of bands of distances, of some keys only, with a bias by distance, and the merge of
// two, forward and backward, against naive loops in f64; the naive gradients against differences of
// the naive loss; bits against the number of queries that follow, and of threads.
#include <gtest/gtest.h>

#include <stdexcept>

#include "tests/worker/backend/attention_naive.h"

namespace ropesweep::backend {
namespace {

/// What a call sees, beside its extents, and the distances of its bias (0: none).
struct Variant {
  const char* name;
  AttentionShape shape;
  int64_t distances = 0;
};

AttentionShape window(AttentionShape s, int64_t nearest, int64_t farthest) {
  s.nearest = nearest;
  s.farthest = farthest;
  return s;
}

AttentionShape sinks(AttentionShape s, int64_t nearest, int64_t first_keys) {
  s.nearest = nearest;
  s.first_keys = first_keys;
  return s;
}

AttentionShape from(AttentionShape s, int64_t first_position) {
  s.first_position = first_position;
  return s;
}

const Variant kVariants[] = {
    {"window", window(shape_of(1, 150, 150, 3, 1, 48), 0, 37)},
    {"window of whole blocks", window(shape_of(1, 400, 400, 1, 1, 32), 0, 270)},
    {"window over a cache", window(shape_of(1, 40, 900, 2, 1, 20), 0, 64)},
    {"far keys", window(shape_of(2, 140, 140, 2, 2, 34), 33, kUnlimited)},
    {"sinks beyond a window", sinks(shape_of(2, 200, 200, 2, 1, 32), 64, 5)},
    {"later keys too", window(shape_of(1, 90, 90, 2, 2, 80), -7, 20)},
    {"a slice in full", window(shape_of(1, 40, 170, 2, 1, 96), -kUnlimited, kUnlimited)},
    {"a slice in full, S < T", from(window(shape_of(1, 70, 40, 2, 1, 32), -kUnlimited, 900), 500)},
    {"rows past the keys", from(window(shape_of(1, 150, 60, 2, 1, 32), 0, 90), 100)},
    {"rows before the keys", from(shape_of(2, 50, 45, 2, 1, 32), -20)},
    {"no row sees a key", from(shape_of(1, 20, 30, 2, 1, 32), -20)},
    {"bias", shape_of(2, 140, 140, 4, 2, 32), 50},
    {"bias of one number", shape_of(1, 40, 70, 2, 1, 20), 1},
    {"bias of more distances than keys", shape_of(1, 70, 70, 2, 1, 128), 200},
    {"bias in a window", window(shape_of(1, 270, 270, 1, 1, 32), 0, 140), 64},
    {"bias, later keys too", window(shape_of(1, 70, 90, 2, 1, 40), -30, 40), 17},
    {"bias, far sinks", sinks(shape_of(1, 70, 200, 2, 1, 256), 60, 40), 100},
    {"bias, rows without keys", from(window(shape_of(1, 60, 40, 2, 2, 32), 3, 30), -5), 9},
};

const Variant kFewQueries[] = {
    {"window", window(shape_of(2, 3, 1300, 6, 2, 40), 0, 600)},
    {"window of less than a split", window(shape_of(1, 8, 700, 5, 1, 64), 0, 20)},
    {"sinks", sinks(shape_of(2, 2, 900, 4, 4, 96), 100, 7)},
    {"later keys too", window(shape_of(1, 5, 300, 2, 1, 34), -kUnlimited, kUnlimited)},
    {"far keys", window(shape_of(1, 1, 900, 3, 1, 256), 200, kUnlimited)},
    {"rows without keys", from(shape_of(2, 4, 3, 2, 1, 32), -2)},
    {"no row sees a key", from(shape_of(1, 4, 3, 2, 1, 32), -4)},
    {"bias", shape_of(2, 3, 700, 6, 2, 48), 130},
    {"bias in a window", window(shape_of(1, 8, 400, 2, 1, 20), -3, 260), 100},
};

/// As expect_close; rows that see no key have −∞ in both.
void expect_close_lse(Values got, Values expected, double sums) {
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i) {
    if (!std::isinf(expected[i])) continue;
    EXPECT_EQ(got[i], expected[i]) << i;
    got[i] = expected[i] = 0;
  }
  expect_close(got, expected, Dtype::f32, 1, sums, "lse");
}

class AttentionBandTest : public OpTest {
 protected:
  Case case_of(const Variant& variant) {
    Case run(*backend_, dtype(), variant.shape);
    if (variant.distances > 0) run.add_bias(variant.distances);
    return run;
  }

  /// The saved output is rounded once. A sum's terms have either sign: their sizes are the measure.
  void expect_close_bias(Values got, const Naive& twin, double sums) const {
    ASSERT_EQ(got.size(), twin.d_bias.size());
    for (size_t i = 0; i < got.size(); ++i) got[i] -= twin.d_bias[i];
    EXPECT_LE(norm_of(got), (epsilon() + sums * 0x1p-24) * norm_of(twin.d_bias_sizes));
  }
};
ROPESWEEP_BOTH_TYPES(AttentionBandTest);

TEST_P(AttentionBandTest, matches_the_definition) {
  for (const Variant& variant : kVariants) {
    SCOPED_TRACE(variant.name);
    Case run = case_of(variant);
    run.forward();
    run.backward();
    const Naive twin = naive(run);
    const double root = std::sqrt(static_cast<double>(run.s.head_dim));
    expect_close(values(run.out), twin.out, dtype(), 2, 2 + 2 * root, "out");
    expect_close_lse(values(run.lse), twin.lse, 2 + 2 * root);
    // Weights or slopes once, the saved output once, the gradient once.
    const double sums = 5 + 2 * root;
    expect_close(values(run.d_q), twin.d_q, dtype(), 3, sums, "d_q");
    expect_close(values(run.d_k), twin.d_k, dtype(), 3, sums, "d_k");
    expect_close(values(run.d_v), twin.d_v, dtype(), 3, sums, "d_v");
    if (variant.distances > 0) expect_close_bias(values(run.d_bias), twin, sums);
  }
}

TEST_P(AttentionBandTest, decodes_as_the_definition_says) {
  for (const Variant& variant : kFewQueries) {
    SCOPED_TRACE(variant.name);
    Case run = case_of(variant);
    run.forward();
    const Naive twin = naive(run);
    const double sums = 8 + 2 * std::sqrt(static_cast<double>(run.s.head_dim));
    expect_close(values(run.out), twin.out, dtype(), 2, sums, "out");
    expect_close_lse(values(run.lse), twin.lse, sums);
  }
}

TEST_P(AttentionBandTest, the_gradient_of_the_bias_is_added) {
  Case run(*backend_, dtype(), shape_of(1, 30, 30, 2, 1, 32));
  run.add_bias(12);
  run.forward();
  run.backward();
  const Values once = values(run.d_bias);
  run.backward();
  Values twice = once;
  for (double& x : twice) x *= 2;
  expect_close(values(run.d_bias), twice, Dtype::f32, 2, 4, "d_bias");
  EXPECT_GT(norm_of(once), 0);
}

/// Two bands that share no key, and whose operands differ: near pairs and far ones.
struct Halves {
  Halves(Backend& on, Dtype dtype, const AttentionShape& shape, int64_t border, int64_t distances)
      : near(on, dtype, window(shape, shape.nearest, border)),
        far(on, dtype, window(shape, border, shape.farthest)) {
    near.add_bias(distances);
    far.add_bias(distances);
    far.d_bias = near.d_bias;  // to which both add
  }
  /// near's out and lse become those of both.
  void forward() {
    near.forward();
    far.forward();
    near.backend.merge_attention(near.out, near.lse, far.out, far.lse);
  }
  void backward() {
    near.backward();
    far.out = near.out;
    far.lse = near.lse;
    far.backward();
  }
  Case near, far;
};

Values sum_of(Values x, const Values& y) {
  for (size_t i = 0; i < x.size(); ++i) x[i] += y[i];
  return x;
}

TEST_P(AttentionBandTest, complementary_bands_merge_to_the_whole_forward_and_backward) {
  for (const AttentionShape& shape :
       {shape_of(2, 140, 140, 4, 2, 32), shape_of(1, 60, 300, 2, 1, 48)}) {
    constexpr int64_t kDistances = 60;
    Case whole(*backend_, dtype(), shape);
    whole.add_bias(kDistances);
    const Naive twin = naive(whole);
    for (const int64_t border : {1, 40, 1000}) {  // the last: no far key at all
      Halves halves(*backend_, dtype(), shape, border, kDistances);
      halves.forward();
      const double sums = 8 + 4 * std::sqrt(static_cast<double>(shape.head_dim));
      expect_close(values(halves.near.out), twin.out, dtype(), 3, sums, "out");
      expect_close_lse(values(halves.near.lse), twin.lse, sums);
      halves.backward();
      const auto both = [&](Tensor Case::*x) {
        return sum_of(values(halves.near.*x), values(halves.far.*x));
      };
      expect_close(both(&Case::d_q), twin.d_q, dtype(), 4, sums, "d_q");
      expect_close(both(&Case::d_k), twin.d_k, dtype(), 4, sums, "d_k");
      expect_close(both(&Case::d_v), twin.d_v, dtype(), 4, sums, "d_v");
      expect_close_bias(values(halves.near.d_bias), twin, sums);
    }
  }
}

TEST_P(AttentionBandTest, slices_of_keys_merge_to_the_whole) {
  constexpr int64_t kTokens = 100, kFirst = 60;
  const Case whole(*backend_, dtype(), shape_of(1, kTokens, kTokens, 2, 1, 32));
  const Naive twin = naive(whole);
  const auto slice = [&](int64_t first, int64_t keys, int64_t nearest) {
    Case run(*backend_, dtype(),
             window(shape_of(1, kTokens - kFirst, keys, 2, 1, 32), nearest, kUnlimited));
    run.s.first_position = kFirst - first;
    run.q = whole.q.rows(kFirst, kTokens - kFirst);
    run.k = whole.k.rows(first, keys);
    run.v = whole.v.rows(first, keys);
    run.forward();
    return run;
  };
  const Case before = slice(0, kFirst, -kUnlimited), own = slice(kFirst, kTokens - kFirst, 0);
  backend_->merge_attention(own.out, own.lse, before.out, before.lse);
  const Values expected(twin.out.begin() + kFirst * 2 * 32, twin.out.end());
  expect_close(values(own.out), expected, dtype(), 3, 20, "out");
}

TEST_P(AttentionBandTest, no_key_is_the_neutral_element_of_merging) {
  Case some(*backend_, dtype(), shape_of(1, 20, 30, 2, 1, 32));
  Case none(*backend_, dtype(), from(some.s, -100));
  some.forward();
  none.forward();
  const std::string out = bytes_of(*backend_, some.out), lse = bytes_of(*backend_, some.lse);
  const std::string zeros = bytes_of(*backend_, none.out);
  backend_->merge_attention(some.out, some.lse, none.out, none.lse);
  EXPECT_TRUE(bytes_of(*backend_, some.out) == out);
  EXPECT_TRUE(bytes_of(*backend_, some.lse) == lse);
  const Tensor still = backend_->allocate(dtype(), none.out.shape());
  const Tensor still_lse = backend_->allocate(Dtype::f32, none.lse.shape());
  backend_->copy(still, none.out);
  backend_->copy(still_lse, none.lse);
  backend_->merge_attention(still, still_lse, none.out, none.lse);
  EXPECT_TRUE(bytes_of(*backend_, still) == zeros);
  backend_->merge_attention(none.out, none.lse, some.out, some.lse);
  EXPECT_TRUE(bytes_of(*backend_, none.out) == out);
  EXPECT_TRUE(bytes_of(*backend_, none.lse) == lse);
}

TEST_P(AttentionBandTest, a_band_that_hides_nothing_has_the_bits_of_the_causal_call) {
  Case causal(*backend_, dtype(), shape_of(1, 150, 200, 3, 1, 64));
  Case band(*backend_, dtype(), from(window(causal.s, 0, 200), 50));
  band.s.first_keys = 200;
  for (Case* run : {&causal, &band}) {
    run->forward();
    run->backward();
  }
  EXPECT_TRUE(causal.bits() == band.bits());
}

TEST_P(AttentionBandTest, queries_have_the_same_bits_however_many_follow) {
  const auto rows = [&](int64_t tokens) {
    Case run(*backend_, dtype(), window(shape_of(1, tokens, tokens, 2, 1, 32), 0, 200));
    run.add_bias(64);
    run.forward();
    return bytes_of(*backend_, run.out);
  };
  const std::string all = rows(600);
  for (const int64_t tokens : {9, 128, 129, 300, 513}) {
    const std::string some = rows(tokens);
    EXPECT_TRUE(all.compare(0, some.size(), some) == 0) << tokens << " tokens";
  }
}

TEST_P(AttentionBandTest, a_window_over_a_cache_gives_the_same_bits_as_the_whole) {
  constexpr int64_t kTokens = 600, kLast = 250, kWidth = 2 * 32;
  Case whole(*backend_, dtype(), window(shape_of(1, kTokens, kTokens, 2, 2, 32), 0, 170));
  whole.add_bias(100);
  whole.forward();
  Case rest(*backend_, dtype(), window(shape_of(1, kLast, kTokens, 2, 2, 32), 0, 170));
  rest.q = whole.q.rows(kTokens - kLast, kLast);
  rest.k = whole.k;
  rest.v = whole.v;
  rest.bias = whole.bias;
  rest.forward();
  const size_t skipped = static_cast<size_t>((kTokens - kLast) * kWidth) * size_of(dtype());
  EXPECT_TRUE(bytes_of(*backend_, whole.out).substr(skipped) == bytes_of(*backend_, rest.out));
}

TEST_P(AttentionBandTest, threads_dont_change_bits) {
  for (const AttentionShape& shape :
       {window(shape_of(2, 300, 300, 3, 1, 32), 0, 200), shape_of(2, 2, 1500, 6, 2, 32)}) {
    expect_same_bits_on_any_threads([&](Backend& backend) {
      Case run(backend, dtype(), shape), other(backend, dtype(), shape);
      run.add_bias(100);
      run.forward();
      run.backward();
      other.forward();
      std::string bits = run.bits();
      backend.merge_attention(run.out, run.lse, other.out, other.lse);
      return bits + bytes_of(backend, run.out) + bytes_of(backend, run.lse);
    });
  }
}

TEST_P(AttentionBandTest, refuses_what_doesnt_fit) {
  const AttentionShape good = shape_of(1, 10, 12, 4, 2, 32);
  const auto refused = [&](const AttentionShape& shape, const Shape& bias, const Shape& d_bias) {
    Case run(*backend_, dtype(), good);
    run.s = shape;
    if (!bias.empty()) run.bias = backend_->allocate(Dtype::f32, bias);
    if (!d_bias.empty()) run.d_bias = backend_->allocate(Dtype::f32, d_bias);
    EXPECT_THROW(run.backward(), std::invalid_argument);
  };
  refused(window(good, 0, INT64_MAX), {}, {});
  refused(window(good, INT64_MIN, 1), {}, {});
  refused(from(good, INT64_MAX), {}, {});
  refused(good, {3, 7}, {});
  refused(good, {4, 7}, {4, 8});
  refused(good, {}, {4, 7});
  const Case wide(*backend_, dtype(), good),
      narrow(*backend_, dtype(), shape_of(1, 9, 12, 4, 2, 32));
  EXPECT_THROW(backend_->merge_attention(wide.out, wide.lse, narrow.out, narrow.lse),
               std::invalid_argument);
  EXPECT_THROW(backend_->merge_attention(wide.out, wide.lse, wide.out, narrow.lse),
               std::invalid_argument);
}

TEST_P(AttentionBandTest, refuses_heads_wider_than_it_can) {
  Case run(*backend_, dtype(), shape_of(1, 10, 10, 1, 1, 257));
  EXPECT_THROW(run.forward(), std::invalid_argument);
}

TEST(AttentionGradientTest, the_definition_agrees_with_its_own_differences) {
  const auto backend = make_cpu_backend(1);
  Case causal(*backend, Dtype::f32, shape_of(1, 5, 7, 2, 1, 4));
  Case band(*backend, Dtype::f32, from(window(shape_of(2, 6, 7, 2, 1, 4), -2, 4), -1));
  band.add_bias(3);
  for (const Case& run : {causal, band}) {
    const Naive twin = naive(run);
    const auto loss = [&](Naive x) {
      x.out.assign(x.out.size(), 0.0);
      x.run();
      double sum = 0;
      for (size_t i = 0; i < x.out.size(); ++i) sum += x.out[i] * x.d_out[i];
      return sum;
    };
    constexpr double kStep = 1e-5;
    const auto expect_gradient = [&](Values Naive::*operand, Values Naive::*gradient) {
      for (size_t i = 0; i < (twin.*operand).size(); ++i) {
        Naive up = twin, down = twin;
        (up.*operand)[i] += kStep;
        (down.*operand)[i] -= kStep;
        EXPECT_NEAR((loss(up) - loss(down)) / (2 * kStep), (twin.*gradient)[i], 1e-7) << i;
      }
    };
    expect_gradient(&Naive::q, &Naive::d_q);
    expect_gradient(&Naive::k, &Naive::d_k);
    expect_gradient(&Naive::v, &Naive::d_v);
    expect_gradient(&Naive::bias, &Naive::d_bias);
  }
}

}  // namespace
}  // namespace ropesweep::backend
