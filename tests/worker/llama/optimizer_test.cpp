// The rate's schedule; saved states that resume to the bit; states that do not fit.
#include "worker/llama/optimizer.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>

#include "experiments/error.h"
#include "tests/worker/llama/fixtures.h"

namespace ropesweep::llama {
namespace {

using backend::Dtype;

RecipeSettings recipe_of(int64_t steps) {
  RecipeSettings recipe;
  recipe.learning_rate = 1e-2;
  recipe.steps = steps;
  recipe.warmup_steps = 2;
  recipe.weight_decay = 0.1;
  recipe.schedule = "cosine";
  return recipe;
}

TEST(LearningRate, WarmsUpThenHoldsOrFallsToZero) {
  RecipeSettings recipe = recipe_of(12);
  recipe.warmup_steps = 4;
  EXPECT_DOUBLE_EQ(learning_rate_at(recipe, 1), 0.25e-2);
  EXPECT_DOUBLE_EQ(learning_rate_at(recipe, 3), 0.75e-2);
  EXPECT_DOUBLE_EQ(learning_rate_at(recipe, 4), 1e-2);
  EXPECT_DOUBLE_EQ(learning_rate_at(recipe, 8), 0.5e-2);
  EXPECT_NEAR(learning_rate_at(recipe, 12), 0, 1e-18);
  recipe.schedule = "constant";
  EXPECT_DOUBLE_EQ(learning_rate_at(recipe, 3), 0.75e-2);
  EXPECT_DOUBLE_EQ(learning_rate_at(recipe, 12), 1e-2);
  recipe.warmup_steps = 0;
  EXPECT_DOUBLE_EQ(learning_rate_at(recipe, 1), 1e-2);
  recipe.schedule = "square";
  EXPECT_THROW(learning_rate_at(recipe, 1), Error);
}

/// transformers 5.23: get_linear_schedule_with_warmup(SGD(lr=1e-2), warm-up, 12), the rate after
/// that many calls of scheduler.step().
TEST(LearningRate, LinearIsTransformers) {
  RecipeSettings recipe = recipe_of(12);
  recipe.schedule = "linear";
  recipe.warmup_steps = 4;
  const std::vector<double> with_warmup = {0.0025,  0.005, 0.0075,  0.01,   0.00875, 0.0075,
                                           0.00625, 0.005, 0.00375, 0.0025, 0.00125, 0.0};
  const std::vector<double> without = {0.009166666666666667,  0.008333333333333333,  0.0075,
                                       0.006666666666666666,  0.005833333333333334,  0.005,
                                       0.004166666666666667,  0.003333333333333333,  0.0025,
                                       0.0016666666666666666, 0.0008333333333333333, 0.0};
  for (int64_t step = 1; step <= 12; ++step) {
    const auto at = static_cast<size_t>(step - 1);
    recipe.warmup_steps = 4;
    EXPECT_DOUBLE_EQ(learning_rate_at(recipe, step), with_warmup[at]) << step;
    recipe.warmup_steps = 0;
    EXPECT_DOUBLE_EQ(learning_rate_at(recipe, step), without[at]) << step;
  }
  recipe.warmup_steps = 12;  // nothing is left to fall in
  EXPECT_DOUBLE_EQ(learning_rate_at(recipe, 12), 1e-2);
}

std::string bytes_of(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

double train_step(TestModel& test, Optimizer& optimizer, int64_t step) {
  const std::vector<int32_t> ids = token_ids(2 * 40, 50 + step);
  const double loss = test.model->accumulate_gradients(ids, next_tokens(ids, 40), 2, 1.0 / 78,
                                                       optimizer.gradients(), Recompute::none);
  optimizer.step(recipe_of(8), step);
  return loss;
}

class OptimizerOfType : public testing::TestWithParam<Dtype> {};

TEST_P(OptimizerOfType, ASavedStateResumesToTheBit) {
  TemporaryFolder folder;
  TestModel first("grouped_tied", GetParam());
  Optimizer uninterrupted(*first.backend, first.model->weights());
  for (int64_t step = 1; step <= 4; ++step) train_step(first, uninterrupted, step);
  uninterrupted.save(folder / "state.safetensors");
  const OptimizerState copied = uninterrupted.copy();
  std::vector<double> losses;
  for (int64_t step = 5; step <= 8; ++step)
    losses.push_back(train_step(first, uninterrupted, step));
  copied.save(folder / "copied.safetensors");  // what it was, whatever came after
  EXPECT_EQ(bytes_of(folder / "copied.safetensors"), bytes_of(folder / "state.safetensors"));
  EXPECT_GT(uninterrupted.state_bytes(), 0U);
  EXPECT_NEAR(static_cast<double>(uninterrupted.state_bytes()),
              static_cast<double>(std::filesystem::file_size(folder / "state.safetensors")), 2e4);

  TestModel second("grouped_tied", GetParam());
  Optimizer resumed(*second.backend, second.model->weights());
  resumed.load(folder / "state.safetensors");
  EXPECT_EQ(resumed.steps_done(), 4);
  for (int64_t step = 5; step <= 8; ++step) {
    EXPECT_EQ(train_step(second, resumed, step), losses[static_cast<size_t>(step - 5)]);
  }
  const auto a = named_tensors(first.model->weights()), b = named_tensors(second.model->weights());
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(host_values(*first.backend, a[i].tensor), host_values(*second.backend, b[i].tensor));
  }
}

// In bf16 a small step is lost on the weight but not on its master.
TEST_P(OptimizerOfType, StepsSmallerThanARoundingAddUp) {
  TestModel test("multi_head", GetParam());
  RecipeSettings recipe;
  recipe.learning_rate = 1e-4;
  recipe.clip = 0;
  Optimizer optimizer(*test.backend, test.model->weights());
  const std::vector<int32_t> ids = token_ids(64, 3);
  const std::vector<int32_t> targets = next_tokens(ids, 64);
  std::vector<double> losses;
  for (int64_t step = 1; step <= 40; ++step) {
    losses.push_back(test.model->accumulate_gradients(ids, targets, 1, 1.0 / 63,
                                                      optimizer.gradients(), Recompute::none));
    optimizer.step(recipe, step);
  }
  EXPECT_LT(losses.back(), 0.95 * losses.front());
}

TEST_P(OptimizerOfType, AStateOnTheHostGivesTheSameTrainingAndTheSameFile) {
  TemporaryFolder folder;
  const auto host = backend::make_cpu_backend(1);
  TestModel there("grouped_tied", GetParam()), here("grouped_tied", GetParam());
  Optimizer on_device(*there.backend, there.model->weights());
  Optimizer on_host(*here.backend, here.model->weights(), nullptr, host.get());
  for (int64_t step = 1; step <= 4; ++step) {
    const double expected = train_step(there, on_device, step);
    // AdamW's roundings are the host's instead of the device's.
    EXPECT_NEAR(train_step(here, on_host, step), expected, 1e-5 * expected) << step;
  }
  // The state goes on wherever it is loaded.
  on_host.save(folder / "state.safetensors");
  TestModel third("grouped_tied", GetParam());
  Optimizer resumed(*third.backend, third.model->weights());
  resumed.load(folder / "state.safetensors");
  TestModel fourth("grouped_tied", GetParam());
  Optimizer resumed_on_host(*fourth.backend, fourth.model->weights(), nullptr, host.get());
  resumed_on_host.load(folder / "state.safetensors");
  const double expected = train_step(here, on_host, 5);
  EXPECT_EQ(train_step(third, resumed, 5), expected);
  EXPECT_EQ(train_step(fourth, resumed_on_host, 5), expected);
}

INSTANTIATE_TEST_SUITE_P(Types, OptimizerOfType, testing::Values(Dtype::f32, Dtype::bf16),
                         [](const auto& type) { return backend::name_of(type.param); });

TEST(Optimizer, AStateOfAnotherModelIsRefusedAndChangesNothing) {
  TemporaryFolder folder;
  TestModel one("multi_head"), other("head_96");
  Optimizer saved(*one.backend, one.model->weights());
  train_step(one, saved, 1);
  saved.save(folder / "state.safetensors");
  Optimizer refusing(*other.backend, other.model->weights());
  const auto before = host_values(*other.backend, other.model->weights().embedding);
  try {
    refusing.load(folder / "state.safetensors");
    FAIL() << "a state of another shape was loaded";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), FailureKind::user);
    EXPECT_NE(std::string(error.what()).find("state.safetensors"), std::string::npos);
  }
  EXPECT_EQ(before, host_values(*other.backend, other.model->weights().embedding));
  EXPECT_THROW(refusing.load(fixture("head_96") / "model.safetensors"), Error);
}

}  // namespace
}  // namespace ropesweep::llama
