// Cross-entropy, AdamW and embedding against naive loops in f64.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <stdexcept>

#include "tests/worker/backend/support.h"

namespace ropesweep::backend {
namespace {

struct Softmax {
  double log_sum;
  Values p;
};

Softmax softmax(const Values& logits, size_t first, size_t count) {
  double most = -std::numeric_limits<double>::infinity(), sum = 0;
  for (size_t i = 0; i < count; ++i) most = std::max(most, logits[first + i]);
  Softmax result{0, Values(count)};
  for (size_t i = 0; i < count; ++i) sum += result.p[i] = std::exp(logits[first + i] - most);
  for (double& p : result.p) p /= sum;
  result.log_sum = most + std::log(sum);
  return result;
}

class CrossEntropyTest : public OpTest {};
ROPESWEEP_BOTH_TYPES(CrossEntropyTest);  // the type of d_logits

TEST_P(CrossEntropyTest, matches_the_definition) {
  for (const int64_t vocabulary : {1, 5, 64, 1003}) {
    const Tensor logits = backend::normal(*backend_, Dtype::f32, {4, vocabulary}, 1, 5.0f);
    const std::vector<int32_t> targets = {0, -1, static_cast<int32_t>(vocabulary - 1),
                                          static_cast<int32_t>(vocabulary / 2)};
    const Tensor nll = backend_->allocate(Dtype::f32, {4});
    const Tensor d_logits = backend_->allocate(dtype(), logits.shape());
    backend_->cross_entropy(nll, logits, ids_of(*backend_, targets));
    backend_->cross_entropy_backward(d_logits, logits, ids_of(*backend_, targets), 0.25f);
    const Values x = values(logits), losses = values(nll);
    Values expected, d_expected;
    for (size_t row = 0; row < 4; ++row) {
      const auto count = static_cast<size_t>(vocabulary);
      const Softmax s = softmax(x, row * count, count);
      const bool counted = targets[row] >= 0;
      const auto target = static_cast<size_t>(std::max(0, targets[row]));
      expected.push_back(counted ? s.log_sum - x[row * count + target] : 0);
      for (size_t i = 0; i < count; ++i) {
        const double one = i == target ? 1 : 0;
        d_expected.push_back(counted ? (s.p[i] - one) * 0.25 : 0);
      }
    }
    EXPECT_EQ(losses[1], 0);
    // A loss near zero is the difference of numbers near the greatest logit, about 20.
    for (size_t row = 0; row < 4; ++row) EXPECT_NEAR(losses[row], expected[row], 64 * 0x1p-24 * 20);
    Values difference = values(d_logits);
    for (size_t i = 0; i < difference.size(); ++i) difference[i] -= d_expected[i];
    EXPECT_LE(norm_of(difference), 2 * epsilon() * norm_of(d_expected) + 64 * 0x1p-24 * 0.25);
  }
}

TEST_P(CrossEntropyTest, the_gradient_may_replace_the_logits) {
  const Tensor logits = backend::normal(*backend_, Dtype::f32, {3, 77}, 1);
  const Tensor targets = ids_of(*backend_, {3, 76, -100});
  const Tensor apart = backend_->allocate(Dtype::f32, {3, 77});
  backend_->cross_entropy_backward(apart, logits, targets, 2.0f);
  backend_->cross_entropy_backward(logits, logits, targets, 2.0f);
  EXPECT_TRUE(bytes_of(*backend_, apart) == bytes_of(*backend_, logits));
}

TEST_P(CrossEntropyTest, a_diverged_model_shows) {
  Values x(40, 0.5);
  x[21] = std::numeric_limits<double>::quiet_NaN();
  const Tensor logits = tensor_of(*backend_, Dtype::f32, {1, 40}, x);
  const Tensor nll = backend_->allocate(Dtype::f32, {1});
  backend_->cross_entropy(nll, logits, ids_of(*backend_, {3}));
  EXPECT_TRUE(std::isnan(values(nll)[0]));
}

TEST_P(CrossEntropyTest, threads_dont_change_bits) {
  expect_same_bits_on_any_threads([&](Backend& backend) {
    const Tensor logits = backend::normal(backend, Dtype::f32, {61, 501}, 1);
    const Tensor targets = ids_of(backend, std::vector<int32_t>(61, 17));
    const Tensor nll = backend.allocate(Dtype::f32, {61});
    const Tensor d_logits = backend.allocate(dtype(), logits.shape());
    backend.cross_entropy(nll, logits, targets);
    backend.cross_entropy_backward(d_logits, logits, targets, 1.0f);
    return bytes_of(backend, nll) + bytes_of(backend, d_logits);
  });
}

TEST(CrossEntropyErrorTest, refuses_targets_past_the_vocabulary) {
  const auto backend = make_cpu_backend(1);
  const Tensor logits = normal(*backend, Dtype::f32, {1, 5}, 1);
  const Tensor nll = backend->allocate(Dtype::f32, {1});
  EXPECT_THROW(backend->cross_entropy(nll, logits, ids_of(*backend, {5})), std::invalid_argument);
}

class AdamwTest : public OpTest {};
ROPESWEEP_BOTH_TYPES(AdamwTest);  // the type of the weight

TEST_P(AdamwTest, follows_the_algorithm_over_several_steps) {
  constexpr int64_t kCount = 75;
  const Tensor master = backend::normal(*backend_, Dtype::f32, {kCount}, 1);
  const Tensor weight = backend_->allocate(dtype(), {kCount});
  const Tensor m = filled(*backend_, Dtype::f32, {kCount}, 0);
  const Tensor v = filled(*backend_, Dtype::f32, {kCount}, 0);
  Values w = values(master), first(w.size()), second(w.size());
  for (int64_t step = 1; step <= 5; ++step) {
    const Tensor gradient =
        backend::normal(*backend_, Dtype::f32, {kCount}, 10 + static_cast<uint64_t>(step));
    const AdamwStep settings{
        .learning_rate = 1e-2f, .weight_decay = 0.1f, .step = step, .gradient_scale = 0.5f};
    backend_->adamw(weight, master, m, v, gradient, settings);
    const Values g = values(gradient);
    const double beta1 = double{settings.beta1}, beta2 = double{settings.beta2};
    for (size_t i = 0; i < w.size(); ++i) {
      const double scaled = 0.5 * g[i];
      first[i] = beta1 * first[i] + (1 - beta1) * scaled;
      second[i] = beta2 * second[i] + (1 - beta2) * scaled * scaled;
      const double mean = first[i] / (1 - std::pow(beta1, static_cast<double>(step)));
      const double square = second[i] / (1 - std::pow(beta2, static_cast<double>(step)));
      w[i] -=
          double{settings.learning_rate} * (mean / (std::sqrt(square) + double{settings.epsilon}) +
                                            double{settings.weight_decay} * w[i]);
    }
  }
  expect_close(values(master), w, Dtype::f32, 1, 10, "master");
  expect_close(values(weight), w, dtype(), 1, 10, "weight");
  expect_close(values(m), first, Dtype::f32, 1, 20, "m");
  expect_close(values(v), second, Dtype::f32, 1, 20, "v");
}

TEST(AdamwSharedTest, the_weight_may_be_the_master) {
  const auto backend = make_cpu_backend(2);
  const auto updated = [&](bool shared) {
    const Tensor master = normal(*backend, Dtype::f32, {9001}, 1);
    const Tensor weight = shared ? master : backend->allocate(Dtype::f32, {9001});
    const Tensor m = filled(*backend, Dtype::f32, {9001}, 0);
    const Tensor v = filled(*backend, Dtype::f32, {9001}, 0);
    backend->adamw(weight, master, m, v, normal(*backend, Dtype::f32, {9001}, 2),
                   {.learning_rate = 1e-3f});
    return bytes_of(*backend, weight);
  };
  EXPECT_TRUE(updated(true) == updated(false));
}

TEST(AdamwSharedTest, threads_dont_change_bits) {
  expect_same_bits_on_any_threads([](Backend& backend) {
    const Shape shape = {20011};
    const Tensor master = normal(backend, Dtype::f32, shape, 1);
    const Tensor weight = backend.allocate(Dtype::bf16, shape);
    const Tensor m = normal(backend, Dtype::f32, shape, 2);
    const Tensor v = filled(backend, Dtype::f32, shape, 0.5);
    const Tensor gradient = normal(backend, Dtype::f32, shape, 3);
    backend.adamw(weight, master, m, v, gradient, {.learning_rate = 1e-2f, .step = 7});
    return bytes_of(backend, weight) + bytes_of(backend, master) + bytes_of(backend, m) +
           bytes_of(backend, v);
  });
}

class EmbeddingTest : public OpTest {};
ROPESWEEP_BOTH_TYPES(EmbeddingTest);

TEST_P(EmbeddingTest, gathers_rows_and_adds_their_gradients) {
  constexpr int64_t kVocabulary = 70, kWidth = 19;
  const std::vector<int32_t> ids = {3, 69, 3, 0, 3, 65, 1};
  const auto rows = static_cast<int64_t>(ids.size());
  const Tensor table = normal({kVocabulary, kWidth}, 1);
  const Tensor out = backend_->allocate(dtype(), {rows, kWidth});
  backend_->embedding(out, table, ids_of(*backend_, ids));
  const Tensor d_out = normal({rows, kWidth}, 2);
  const Tensor d_table = backend::normal(*backend_, Dtype::f32, {kVocabulary, kWidth}, 3);
  Values expected = values(d_table);
  backend_->embedding_backward(d_table, d_out, ids_of(*backend_, ids));

  const Values entries = values(table), got = values(out), upstream = values(d_out);
  for (size_t row = 0; row < ids.size(); ++row) {
    for (size_t i = 0; i < kWidth; ++i) {
      const size_t entry = static_cast<size_t>(ids[row]) * kWidth + i;
      EXPECT_EQ(got[row * kWidth + i], entries[entry]);
      expected[entry] += upstream[row * kWidth + i];
    }
  }
  expect_close(values(d_table), expected, Dtype::f32, 1, 4, "d_table");
}

TEST_P(EmbeddingTest, threads_dont_change_bits) {
  std::vector<int32_t> ids(900);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(i * i % 97);
  expect_same_bits_on_any_threads([&](Backend& backend) {
    const Tensor d_table = filled(backend, Dtype::f32, {97, 33}, 0);
    backend.embedding_backward(d_table, backend::normal(backend, dtype(), {900, 33}, 1),
                               ids_of(backend, ids));
    const Tensor out = backend.allocate(Dtype::f32, {900, 33});
    backend.embedding(out, d_table, ids_of(backend, ids));
    return bytes_of(backend, d_table) + bytes_of(backend, out);
  });
}

TEST(EmbeddingErrorTest, refuses_ids_past_the_table) {
  const auto backend = make_cpu_backend(1);
  const Tensor table = normal(*backend, Dtype::f32, {4, 3}, 1);
  const Tensor out = backend->allocate(Dtype::f32, {1, 3});
  EXPECT_THROW(backend->embedding(out, table, ids_of(*backend, {4})), std::invalid_argument);
  EXPECT_THROW(backend->embedding(out, table, ids_of(*backend, {-1})), std::invalid_argument);
}

}  // namespace
}  // namespace ropesweep::backend
