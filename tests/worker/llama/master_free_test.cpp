// bf16 weights trained without f32 masters: steps below their spacing count on average, and a saved
// state resumes to the bit, on the host too. (Ranks of a group: weight_parts_test.cpp.)
#include <gtest/gtest.h>

#include "experiments/error.h"
#include "tests/worker/llama/fixtures.h"
#include "worker/llama/optimizer.h"

namespace ropesweep::llama {
namespace {

using backend::Backend;
using backend::Dtype;
using backend::Tensor;

RecipeSettings recipe_of(bool masters) {
  RecipeSettings recipe;
  recipe.learning_rate = 2e-5;
  recipe.clip = 0;
  recipe.master_weights = masters;
  return recipe;
}

double forward_and_backward(TestModel& test, const Weights& gradients, int64_t seed) {
  const std::vector<int32_t> ids = token_ids(64, seed);
  return test.model->accumulate_gradients(ids, next_tokens(ids, 64), 1, 1.0 / 63, gradients,
                                          Recompute::none);
}

double train_step(TestModel& test, Optimizer& optimizer, bool masters, int64_t step) {
  const double loss = forward_and_backward(test, optimizer.gradients(), 3);
  optimizer.step(recipe_of(masters), step);
  return loss;
}

constexpr int64_t kSteps = 20;

/// What `kSteps` on one sequence take from its loss.
double gain(bool masters) {
  TestModel test("multi_head", Dtype::bf16);
  Optimizer optimizer(*test.backend, test.model->weights());
  const double first = train_step(test, optimizer, masters, 1);
  for (int64_t step = 2; step <= kSteps; ++step) train_step(test, optimizer, masters, step);
  return first - forward_and_backward(test, optimizer.gradients(), 3);
}

/// The same where a weight is its own master and is rounded to nearest.
double gain_by_nearest() {
  TestModel test("multi_head", Dtype::bf16);
  Backend& backend = *test.backend;
  const Weights& weights = test.model->weights();
  const Weights gradients = zeros_like(backend, weights), means = zeros_like(backend, weights),
                squares = zeros_like(backend, weights);
  const auto w = named_tensors(weights), g = named_tensors(gradients), m = named_tensors(means),
             v = named_tensors(squares);
  const double first = forward_and_backward(test, gradients, 3);
  for (int64_t step = 1; step <= kSteps; ++step) {
    for (size_t i = 0; i < w.size(); ++i) {
      const Tensor master = backend.allocate(Dtype::f32, w[i].tensor.shape());
      backend.copy(master, w[i].tensor);
      backend.adamw(w[i].tensor, master, m[i].tensor, v[i].tensor, g[i].tensor,
                    {.learning_rate = 2e-5F, .step = step});
      backend.zero(g[i].tensor);
    }
    if (step < kSteps) forward_and_backward(test, gradients, 3);
  }
  return first - forward_and_backward(test, gradients, 3);
}

TEST(MasterFree, StepsBelowAWeightsSpacingCount) {
  const double with_masters = gain(true), by_chance = gain(false), by_nearest = gain_by_nearest();
  EXPECT_GT(with_masters, 10);  // of Σ nll over 63 tokens
  EXPECT_GT(by_chance, 0.5 * with_masters);
  EXPECT_LT(by_nearest, 0.2 * with_masters);
}

std::vector<std::vector<float>> values_of(TestModel& test) {
  std::vector<std::vector<float>> values;
  for (const NamedTensor& named : named_tensors(test.model->weights())) {
    values.push_back(host_values(*test.backend, named.tensor));
  }
  return values;
}

TEST(MasterFree, ASavedStateResumesToTheBit) {
  TemporaryFolder folder;
  TestModel first("grouped_tied", Dtype::bf16);
  Optimizer uninterrupted(*first.backend, first.model->weights());
  EXPECT_THROW(uninterrupted.save(folder / "early.safetensors"), std::logic_error);
  for (int64_t step = 1; step <= 3; ++step) train_step(first, uninterrupted, false, step);
  uninterrupted.save(folder / "state.safetensors");
  for (int64_t step = 4; step <= 6; ++step) train_step(first, uninterrupted, false, step);

  TestModel second("grouped_tied", Dtype::bf16);
  const auto host = backend::make_cpu_backend(1);
  Optimizer resumed(*second.backend, second.model->weights(), nullptr, host.get());
  resumed.load(folder / "state.safetensors");
  EXPECT_EQ(resumed.steps_done(), 3);
  EXPECT_THROW(resumed.step(recipe_of(true), 4), std::invalid_argument);
  // The host's arithmetic has the device's bits.
  for (int64_t step = 4; step <= 6; ++step) train_step(second, resumed, false, step);
  EXPECT_TRUE(values_of(second) == values_of(first));

  TestModel wide("grouped_tied", Dtype::f32);
  Optimizer of_f32(*wide.backend, wide.model->weights());
  EXPECT_THROW(of_f32.load(folder / "state.safetensors"), Error);
}

TEST(MasterFree, MeansNothingInF32) {
  TestModel with("multi_head"), without("multi_head");
  Optimizer a(*with.backend, with.model->weights()), b(*without.backend, without.model->weights());
  for (int64_t step = 1; step <= 2; ++step) {
    train_step(with, a, true, step);
    train_step(without, b, false, step);
  }
  EXPECT_TRUE(values_of(with) == values_of(without));
}

TEST(MasterFree, ASeedsChancesAreItsOwn) {
  const auto after_a_step = [](uint64_t seed) {
    TestModel test("multi_head", Dtype::bf16);
    Optimizer optimizer(*test.backend, test.model->weights(), nullptr, nullptr, seed);
    train_step(test, optimizer, false, 1);
    return values_of(test);
  };
  EXPECT_TRUE(after_a_step(1) == after_a_step(1));
  EXPECT_FALSE(after_a_step(1) == after_a_step(2));
}

}  // namespace
}  // namespace ropesweep::llama
