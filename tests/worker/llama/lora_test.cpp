// LoRA against PEFT: logits, gradients, AdamW, where it starts; in bf16, and what stays frozen.
#include "worker/llama/lora.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/worker/llama/lora_fixtures.h"

namespace ropesweep::llama {
namespace {

using backend::Dtype;

TEST_F(LoraTest, LogitsArePefts) {
  for (const char* adapter : {"adapter", "attention"}) {
    AdaptedModel test(Dtype::f32, adapter);
    const std::vector<float> want = expected(std::string("logits.") + adapter);
    EXPECT_LT(relative_difference(test.model->logits(token_ids(kTokens, 1), 1), want), 1e-5);
    test.model->use_adapters(nullptr);
    EXPECT_GT(relative_difference(test.model->logits(token_ids(kTokens, 1), 1), want), 0.05)
        << "the adapter is too small to be seen";
  }
}

TEST_F(LoraTest, MergedIsAppliedWithinRounding) {
  for (const char* adapter : {"adapter", "attention"}) {
    TestModel plain(kBase);
    Model merged(
        *plain.backend, plain.config,
        load_merged_weights(*plain.backend, lora_fixture(adapter), {}, plain.config, Dtype::f32));
    EXPECT_LT(relative_difference(merged.logits(token_ids(kTokens, 1), 1),
                                  expected(std::string("logits.") + adapter)),
              1e-5);
  }
}

TEST_F(LoraTest, GradientsArePefts) {
  AdaptedModel test;
  test.lora->begin_training();
  EXPECT_NEAR(test.accumulate(0), facts_["gradient_loss"].get<double>(), 1e-4);
  const auto ours = test.gradients();
  EXPECT_EQ(ours.size(), 2U * 7 * 2);
  for (const auto& [name, gradient] : ours) {
    EXPECT_LT(relative_difference(gradient, expected("gradient." + name)), 1e-4) << name;
  }
}

TEST_F(LoraTest, TenStepsOfAdamwArePefts) {
  AdaptedModel test;
  Optimizer optimizer(*test.backend, *test.lora);
  const RecipeSettings recipe = peft_recipe(facts_);
  for (int64_t step = 1; step <= recipe.steps; ++step) {
    const double loss = test.accumulate(step),
                 want = facts_["losses"][static_cast<size_t>(step - 1)];
    EXPECT_NEAR(loss, want, 1e-5 * want) << "step " << step;
    const double norm = facts_["norms"][static_cast<size_t>(step - 1)];
    EXPECT_NEAR(optimizer.step(recipe, step), norm, 1e-4 * norm) << "step " << step;
  }
}

TEST_F(LoraTest, Bf16WeightsWithF32AdaptersStayNear) {
  AdaptedModel test(Dtype::bf16);
  EXPECT_LT(
      relative_difference(test.model->logits(token_ids(kTokens, 1), 1), expected("logits.adapter")),
      0.03);
  Optimizer optimizer(*test.backend, *test.lora);
  EXPECT_NEAR(test.accumulate(0), facts_["gradient_loss"].get<double>(), 0.02);
  for (const auto& [name, gradient] : test.gradients()) {
    EXPECT_LT(relative_difference(gradient, expected("gradient." + name)), 0.08) << name;
  }
  // Steps far below bf16's spacing add up in the adapters, and reach the copies.
  for (const NamedTensor& named : named_tensors(test.lora->weights())) {
    EXPECT_EQ(named.tensor.dtype(), Dtype::f32);
  }
  const std::vector<float> before = test.model->logits(token_ids(kTokens, 1), 1);
  optimizer.step(peft_recipe(facts_), 1);
  EXPECT_NE(test.model->logits(token_ids(kTokens, 1), 1), before);
}

TEST_F(LoraTest, WeightsStayFrozen) {
  AdaptedModel test;
  Optimizer optimizer(*test.backend, *test.lora);
  const auto values = [&] {
    std::vector<float> all;
    for (const NamedTensor& named : named_tensors(test.model->weights())) {
      const auto of_one = host_values(*test.backend, named.tensor);
      all.insert(all.end(), of_one.begin(), of_one.end());
    }
    return all;
  };
  const std::vector<float> before = values();
  test.accumulate(1);
  optimizer.step(peft_recipe(facts_), 1);
  EXPECT_EQ(values(), before);
}

// Nothing is held for frozen weights: an optimizer's state and a pass' room are the adapters'.
TEST_F(LoraTest, FrozenWeightsTakeNoGradients) {
  AdaptedModel test;
  test.model->logits(token_ids(kTokens, 1), 1);  // the tables of positions stay
  const size_t before = test.backend->bytes_in_use();
  Optimizer optimizer(*test.backend, *test.lora);
  size_t adapters = 0;
  for (const NamedTensor& named : named_tensors(test.lora->weights())) {
    adapters += named.tensor.bytes();
  }
  // Gradients and two moments; the pool rounds blocks up.
  EXPECT_LE(test.backend->bytes_in_use() - before, 3 * adapters + 28 * 3 * 512);
  const size_t idle = test.backend->bytes_in_use();
  test.accumulate(1);  // nothing of the pass stays
  EXPECT_EQ(test.backend->bytes_in_use(), idle);
}

TEST_F(LoraTest, StartsAsPeftDoes) {
  TestModel test(kBase);
  LoraSettings settings;
  settings.rank = 8;
  settings.targets = {"q", "down"};
  const LoraWeights lora = init_lora(*test.backend, test.config, settings, 3);
  EXPECT_EQ(named_tensors(lora).size(), 2U * 2 * 2);
  for (const LoraLayer& layer : lora.layers) {
    for (size_t slot = 0; slot < kLoraSlots; ++slot) {
      const LoraPair& pair = layer[slot];
      if (slot != 0 && slot != 6) {
        EXPECT_TRUE(pair.a.empty() && pair.b.empty());
        continue;
      }
      const double bound = 1 / std::sqrt(static_cast<double>(pair.a.dim(1)));
      double squares = 0, most = 0;
      const std::vector<float> a = host_values(*test.backend, pair.a);
      for (const float x : a) {
        squares += double{x} * x;
        most = std::max(most, std::abs(double{x}));
      }
      EXPECT_LE(most, bound);
      EXPECT_GT(most, 0.98 * bound);
      // Of a uniform distribution's square, the deviation of the mean of n is bound² √(4/45 / n).
      const double n = static_cast<double>(a.size()), mean = squares / n;
      EXPECT_NEAR(mean, bound * bound / 3, 4 * bound * bound * std::sqrt(4.0 / 45 / n));
      for (const float x : host_values(*test.backend, pair.b)) EXPECT_EQ(x, 0);
    }
  }
  const LoraWeights other = init_lora(*test.backend, test.config, settings, 4);
  EXPECT_NE(host_values(*test.backend, other.layers[0][0].a),
            host_values(*test.backend, lora.layers[0][0].a));
  EXPECT_NE(host_values(*test.backend, lora.layers[1][0].a),
            host_values(*test.backend, lora.layers[0][0].a));
}

}  // namespace
}  // namespace ropesweep::llama
