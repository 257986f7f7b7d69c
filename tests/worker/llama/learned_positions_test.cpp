// Positions that are learned, T5's biases and vectors added to the embeddings: against a Llama in
// f64, trained, kept, and shared among ranks.
#include <gtest/gtest.h>

#include "experiments/error.h"
#include "tests/worker/llama/group_fixtures.h"
#include "tests/worker/llama/naive_llama.h"

namespace ropesweep::llama {
namespace {

using backend::Backend;
using backend::Collective;
using backend::Dtype;

constexpr int64_t kTokens = 75;  // past the last bucket's first distance
const char* const schemes[] = {"t5(buckets=8, max_distance=40)", "learned(80)"};

/// A fixture's weights, and a table of positions of some size.
struct LearnedModel {
  explicit LearnedModel(const std::string& scheme, Backend& on, Collective* group = nullptr,
                        Dtype type = Dtype::f32)
      : config(config_for(scheme)), parts(on, config, group) {
    Weights weights = load_weights(on, fixture("grouped_tied"), config, type, &parts);
    EXPECT_TRUE(weights.position_table.empty()) << "the checkpoint has none";
    weights.position_table = init_position_table(on, config, type, 3, &parts);
    model = std::make_unique<Model>(on, config, std::move(weights), group);
    model->use_positions(make_position_encoding(scheme, 1, config.rotary));
  }

  static Config config_for(const std::string& scheme) {
    Config config = read_config(fixture("grouped_tied"));
    config.position_table = position_table_shape(
        config, make_position_encoding(scheme, 1, config.rotary)->attention_rule());
    config.initializer_range = 0.5;
    return config;
  }

  Config config;
  WeightParts parts;
  std::unique_ptr<Model> model;
};

void define(NaiveLlama& naive, const Config& config) {
  const NaiveLlama::Values& table = naive.weights.at("ropesweep.position_table");
  if (config.position_table[0] == config.heads) {
    naive.scheme.pair = [&table](int64_t m, int64_t n, int64_t head) {
      const int64_t bucket = t5_bucket(m - n, 8, 40);
      return NaivePair{.bias = table[static_cast<size_t>(head * 8 + bucket)]};
    };
    return;
  }
  naive.scheme.pair = [](int64_t, int64_t, int64_t) { return NaivePair{}; };
  naive.scheme.added = [&table, width = config.width](int64_t m, int64_t e) {
    return table[static_cast<size_t>(m * width + e)];
  };
}

class LearnedPositions : public testing::TestWithParam<const char*> {};

TEST_P(LearnedPositions, LossesAndGradientsAreTheDefinitions) {
  if (is_slow()) GTEST_SKIP() << kTooLong;
  const auto on = backend::make_test_backend(1);
  LearnedModel test(GetParam(), *on);
  const std::vector<int32_t> ids = token_ids(kTokens, 31), targets = next_tokens(ids, kTokens);
  NaiveLlama naive(*on, test.config, test.model->weights());
  define(naive, test.config);
  const std::vector<double> want = naive.losses(ids);
  const std::vector<float> got = test.model->token_losses(ids, targets, 1);
  for (size_t t = 0; t < want.size(); ++t) EXPECT_NEAR(got[t], want[t], 2e-5 * want[t]) << t;

  for (const Recompute recompute : {Recompute::none, Recompute::layer}) {
    const Weights gradients = zeros_like(*on, test.model->weights());
    test.model->accumulate_gradients(ids, targets, 1, 1, gradients, recompute);
    const std::vector<float> gradient = host_values(*on, gradients.position_table);
    NaiveLlama::Values& table = naive.weights.at("ropesweep.position_table");
    const auto slope_at = [&](size_t element) {
      const double kept = table[element];
      double sums[2] = {0, 0};
      for (const int side : {0, 1}) {
        table[element] = kept + (side == 0 ? 1e-5 : -1e-5);
        for (const double loss : naive.losses(ids)) sums[side] += loss;
      }
      table[element] = kept;
      return (sums[0] - sums[1]) / 2e-5;
    };
    double largest = 0;
    for (const float x : gradient) largest = std::max(largest, std::abs(double{x}));
    EXPECT_GT(largest, 1e-3);
    for (size_t element = 0; element < 60; element += 7) {
      EXPECT_NEAR(gradient[element], slope_at(element), 1e-4 * largest) << element;
    }
  }
}

TEST_P(LearnedPositions, DecodingEqualsOnePassAtEveryPosition) {
  if (is_slow()) GTEST_SKIP() << kTooLong;
  const auto on = backend::make_test_backend(1);
  LearnedModel test(GetParam(), *on);
  const std::vector<int32_t> ids = token_ids(kTokens, 32);
  const std::vector<float> whole = test.model->logits(ids, 1);
  const auto width = static_cast<size_t>(test.config.vocabulary);
  KvCache cache(*on, test.config, Dtype::f32, kTokens);
  for (size_t i = 0; i < ids.size();) {
    const size_t count = i == 0 ? 20 : 1;
    const std::vector<float> last = test.model->extend(cache, std::span(ids).subspan(i, count));
    i += count;
    EXPECT_LT(relative_difference(last, std::span(whole).subspan((i - 1) * width, width)), 2e-5)
        << "position " << i - 1;
  }
}

TEST_P(LearnedPositions, ABatchAddsUpItsSequences) {
  const auto on = backend::make_test_backend(1);
  LearnedModel test(GetParam(), *on);
  const std::vector<int32_t> ids = token_ids(3 * 40, 33), targets = next_tokens(ids, 40);
  const Weights together = zeros_like(*on, test.model->weights());
  const Weights apart = zeros_like(*on, test.model->weights());
  test.model->accumulate_gradients(ids, targets, 3, 1, together, Recompute::none);
  for (size_t b = 0; b < 3; ++b) {
    test.model->accumulate_gradients(std::span(ids).subspan(b * 40, 40),
                                     std::span(targets).subspan(b * 40, 40), 1, 1, apart,
                                     Recompute::none);
  }
  EXPECT_LT(relative_difference(host_values(*on, together.position_table),
                                host_values(*on, apart.position_table)),
            1e-5);
}

TEST_P(LearnedPositions, TrainAsOneRankDoesOverTwo) {
  const std::vector<int32_t> ids = token_ids(kTokens, 34), targets = next_tokens(ids, kTokens);
  const auto trained = [&](LearnedModel& test, Backend& on, bool split) {
    Optimizer optimizer(on, test.model->weights(), &test.model->parts());
    for (int64_t step = 1; step <= 2; ++step) {
      // Without a split each of two ranks has the whole sequence: half of each one's gradient.
      const double share = test.parts.sharded() && !split ? 0.5 : 1;
      test.model->accumulate_gradients(ids, targets, 1, share / double{kTokens},
                                       optimizer.gradients(), Recompute::none);
      optimizer.step(group_recipe(), step);
    }
    return all_values(*test.model, test.model->weights());
  };
  const auto whole = backend::make_cpu_backend(1);
  LearnedModel alone(GetParam(), *whole);
  const std::vector<float> before = all_values(*alone.model, alone.model->weights());
  const std::vector<float> want = difference(trained(alone, *whole, false), before);
  for (const bool split : {false, true}) {
    backend::as_group(2, [&](Backend& on, Collective& group) {
      LearnedModel member(GetParam(), on, &group);
      if (split) member.model->split_sequences(&group);
      EXPECT_LE(relative_difference(difference(trained(member, on, split), before), want),
                2 * double{kTokens} * kRounding)
          << split;
    });
  }
}

TEST_P(LearnedPositions, AreKeptWithTheCheckpointAndTheState) {
  const auto on = backend::make_test_backend(1);
  LearnedModel test(GetParam(), *on);
  Optimizer optimizer(*on, test.model->weights());
  const std::vector<int32_t> ids = token_ids(40, 35), targets = next_tokens(ids, 40);
  const std::vector<float> fresh = host_values(*on, test.model->weights().position_table);
  test.model->accumulate_gradients(ids, targets, 1, 0.1, optimizer.gradients(), Recompute::none);
  optimizer.step(group_recipe(), 1);
  const std::vector<float> table = host_values(*on, test.model->weights().position_table);
  EXPECT_NE(table, fresh) << "the optimizer moves it";

  const TemporaryFolder folder;
  save_checkpoint(*on, folder.path(), test.model->weights(), test.config, Dtype::f32,
                  test.model->positions().scheme(), 1, "");
  const Config config = read_config(folder.path());
  EXPECT_EQ(config.own_scheme, test.model->positions().scheme());
  EXPECT_EQ(config.position_table, test.config.position_table);
  Model loaded(*on, config, load_weights(*on, folder.path(), config, Dtype::f32));
  EXPECT_EQ(host_values(*on, loaded.weights().position_table), table);
  EXPECT_EQ(loaded.token_losses(ids, targets, 1), test.model->token_losses(ids, targets, 1));

  optimizer.save(folder / "state");
  LearnedModel other(GetParam(), *on);
  Optimizer resumed(*on, other.model->weights());
  resumed.load(folder / "state");
  EXPECT_EQ(host_values(*on, other.model->weights().position_table), table);
}

INSTANTIATE_TEST_SUITE_P(Schemes, LearnedPositions, testing::ValuesIn(schemes),
                         [](const auto& test) {
                           return std::string(test.param[0] == 't' ? "t5" : "learned");
                         });

std::string failure(const std::function<void()>& act) {
  try {
    act();
    return "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), FailureKind::user);
    return error.what();
  }
}

TEST(LearnedPositions, AreMissedWithTheirName) {
  TestModel test("multi_head");
  EXPECT_NE(failure([&] { test.use("t5", 1); }).find("no table of positions"), std::string::npos);
  const auto on = backend::make_test_backend(1);
  LearnedModel learned("learned(30)", *on);
  const std::vector<int32_t> ids = token_ids(31, 1);
  EXPECT_NE(failure([&] {
              learned.model->token_losses(ids, next_tokens(ids, 31), 1);
            }).find("a sequence of 31 tokens is longer than its table"),
            std::string::npos);
}

// Positions of training alone: those that a scheme gives, row by row, and 0, 1, 2, … again after.
TEST(TrainingPositions, RotateTheirPassAlone) {
  TestModel test("grouped_tied");
  const std::vector<int32_t> ids = token_ids(2 * 40, 36), targets = next_tokens(ids, 40);
  const auto gradients_at = [&](std::vector<double> positions, Recompute recompute) {
    const Weights gradients = zeros_like(*test.backend, test.model->weights());
    test.model->train_at(std::move(positions));
    test.model->accumulate_gradients(ids, targets, 2, 1, gradients, recompute);
    return host_values(*test.backend, gradients.layers[0].query);
  };
  std::vector<double> plain, shifted, random;
  for (int64_t b = 0; b < 2; ++b) {
    for (int64_t m = 0; m < 40; ++m) {
      plain.push_back(static_cast<double>(m));
      shifted.push_back(static_cast<double>(m + 17 * (b + 1)));
      random.push_back(static_cast<double>(m) * (b == 0 ? 1.37 : 0.5));
    }
  }
  const std::vector<float> want = gradients_at({}, Recompute::none);
  EXPECT_EQ(gradients_at(plain, Recompute::none), want);
  EXPECT_LT(relative_difference(gradients_at(shifted, Recompute::none), want), 1e-4)
      << "only distances count";
  const std::vector<float> other = gradients_at(random, Recompute::none);
  EXPECT_GT(relative_difference(other, want), 1e-2);
  EXPECT_EQ(gradients_at(random, Recompute::layer), other);
  EXPECT_EQ(gradients_at({}, Recompute::none), want) << "used up";
  // Half the step everywhere is linear interpolation by two.
  std::vector<double> halved = plain;
  for (double& position : halved) position /= 2;
  const std::vector<float> at_half = gradients_at(halved, Recompute::none);
  test.use("linear", 2);
  EXPECT_LT(relative_difference(at_half, gradients_at({}, Recompute::none)), 1e-6);
  EXPECT_THROW(gradients_at({1, 2, 3}, Recompute::none), std::invalid_argument);
}

}  // namespace
}  // namespace ropesweep::llama
