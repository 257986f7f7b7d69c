// LoRA against PEFT, and against itself: merged, in bf16, in a group, with dropout, resumed.
#include "worker/llama/lora.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/worker/llama/fixtures.h"
#include "worker/llama/lora_files.h"
#include "worker/llama/optimizer.h"

namespace ropesweep::llama {
namespace {

using backend::Dtype;

constexpr int64_t kTokens = 48, kTargets = 2 * (kTokens - 1);
const char* const kBase = "grouped_tied";

std::filesystem::path lora_fixture(const std::string& name) {
  return fixture(kBase) / "lora" / name;
}

/// A fixture's model with an adapter of PEFT's, applied.
struct AdaptedModel : TestModel {
  explicit AdaptedModel(Dtype type = Dtype::f32, const std::string& adapter = "adapter",
                        double dropout = 0)
      : TestModel(kBase, type),
        lora(std::make_shared<Lora>(*backend, load_adapter(*backend, lora_fixture(adapter), config),
                                    type, dropout, 5)) {
    model->use_adapters(lora);
  }

  /// Loss and gradients of a batch of two sequences, from a step's ids.
  double accumulate(int64_t step, Recompute recompute = Recompute::none) {
    const std::vector<int32_t> ids = token_ids(2 * kTokens, 100 + step % 4);
    return model->accumulate_gradients(ids, next_tokens(ids, kTokens), 2, 1.0 / kTargets, {},
                                       recompute) /
           kTargets;
  }
  std::map<std::string, std::vector<float>> gradients() const {
    std::map<std::string, std::vector<float>> values;
    for (const NamedTensor& named : named_tensors(lora->gradients())) {
      values[named.name] = host_values(*backend, named.tensor);
    }
    return values;
  }
  std::vector<float> gradient_values() const {
    return host_values(*backend, lora->all_gradients());
  }

  std::shared_ptr<Lora> lora;
};

RecipeSettings peft_recipe(const nlohmann::json& facts) {
  RecipeSettings recipe;
  recipe.learning_rate = facts["learning_rate"];
  recipe.beta1 = facts["beta1"];
  recipe.beta2 = facts["beta2"];
  recipe.epsilon = facts["epsilon"];
  recipe.weight_decay = facts["weight_decay"];
  recipe.clip = facts["clip"];
  recipe.steps = facts["steps"];
  return recipe;
}

class LoraTest : public testing::Test {
 protected:
  nlohmann::json facts_ = read_json(lora_fixture("expected.json"));
  SafetensorsReader expected_{lora_fixture("expected.safetensors")};
  std::vector<float> expected(const std::string& name) const {
    return to_f32(expected_.tensor(name));
  }
};

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
    const Model merged(
        *plain.backend, plain.config,
        load_merged_weights(*plain.backend, lora_fixture(adapter), {}, plain.config, Dtype::f32));
    EXPECT_LT(relative_difference(const_cast<Model&>(merged).logits(token_ids(kTokens, 1), 1),
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

TEST_F(LoraTest, RecomputingChangesNothing) {
  for (const double dropout : {0.0, 0.3}) {
    std::vector<std::vector<float>> gradients;
    for (const Recompute recompute :
         {Recompute::none, Recompute::all_but_attention, Recompute::layer}) {
      AdaptedModel test(Dtype::f32, "adapter", dropout);
      test.lora->begin_training();
      test.lora->set_place(3, 0);
      test.accumulate(0, recompute);
      gradients.push_back(test.gradient_values());
    }
    EXPECT_EQ(gradients[1], gradients[0]) << dropout;
    EXPECT_EQ(gradients[2], gradients[0]) << dropout;
  }
}

/// Gradients of the batch, cut into passes of these sequences.
std::vector<float> gradients_by_parts(AdaptedModel& test, const std::vector<int64_t>& sequences) {
  test.lora->begin_training();
  test.backend->zero(test.lora->all_gradients());
  const std::vector<int32_t> ids = token_ids(2 * kTokens, 100);
  const std::vector<int32_t> targets = next_tokens(ids, kTokens);
  int64_t first = 0;
  for (const int64_t count : sequences) {
    test.lora->set_place(2, first * kTokens);
    const auto at = static_cast<size_t>(first * kTokens),
               size = static_cast<size_t>(count * kTokens);
    test.model->accumulate_gradients(std::span(ids).subspan(at, size),
                                     std::span(targets).subspan(at, size), count, 1.0 / kTargets,
                                     {}, Recompute::none);
    first += count;
  }
  return test.gradient_values();
}

TEST_F(LoraTest, DropoutDependsOnThePlaceInTheBatchAlone) {
  AdaptedModel test(Dtype::f32, "adapter", 0.3);
  const std::vector<float> whole = gradients_by_parts(test, {2});
  EXPECT_LT(relative_difference(gradients_by_parts(test, {1, 1}), whole), 1e-5);
  test.lora->set_place(3, 0);
  test.backend->zero(test.lora->all_gradients());
  test.accumulate(0);
  EXPECT_GT(relative_difference(test.gradient_values(), whole), 0.05) << "of another step";
  AdaptedModel kept;
  EXPECT_GT(relative_difference(gradients_by_parts(kept, {2}), whole), 0.05);
  // Scoring drops nothing.
  EXPECT_LT(
      relative_difference(test.model->logits(token_ids(kTokens, 1), 1), expected("logits.adapter")),
      1e-5);
}

// The mask is drawn again for the backward pass, from the same place: the gradient of A is that of
// the loss with that mask.
TEST_F(LoraTest, DropoutsGradientIsTheLosssSlope) {
  AdaptedModel test(Dtype::f32, "adapter", 0.3);
  test.lora->begin_training();
  test.lora->set_place(1, 0);
  const auto loss = [&] { return test.accumulate(0); };
  loss();
  // Along the gradient of all adapters, by a small step to either side.
  std::vector<std::vector<float>> gradients, starts;
  double squares = 0;
  const std::vector<NamedTensor> weights = named_tensors(test.lora->weights());
  for (const NamedTensor& named : named_tensors(test.lora->gradients())) {
    gradients.push_back(host_values(*test.backend, named.tensor));
    for (const float g : gradients.back()) squares += double{g} * g;
  }
  for (const NamedTensor& named : weights)
    starts.push_back(host_values(*test.backend, named.tensor));
  const auto at = [&](double step) {
    for (size_t i = 0; i < weights.size(); ++i) {
      std::vector<float> moved = starts[i];
      for (size_t n = 0; n < moved.size(); ++n) {
        moved[n] += static_cast<float>(step * double{gradients[i][n]});
      }
      test.backend->upload(weights[i].tensor, moved.data());
    }
    test.lora->refresh();
    return loss();
  };
  const double step = 2e-3 / std::sqrt(squares);
  EXPECT_NEAR((at(step) - at(-step)) / (2 * step), squares, 0.01 * squares);
}

TEST_F(LoraTest, DecodingAppliesThem) {
  AdaptedModel test;
  const std::vector<int32_t> ids = token_ids(20, 3);
  const std::vector<float> all = test.model->logits(ids, 1);
  KvCache cache(*test.backend, test.config, Dtype::f32, 24);
  test.model->extend(cache, std::span(ids).first(12));
  std::vector<float> last;
  for (size_t i = 12; i < ids.size(); ++i)
    last = test.model->extend(cache, std::span(ids).subspan(i, 1));
  EXPECT_LT(relative_difference(last, std::span(all).last(last.size())), 1e-5);

  // A recorded pass is made anew when adapters come or go.
  KvCache recorded(*test.backend, test.config, Dtype::f32, 24);
  const auto next = [&] {
    recorded.length = 12;
    return test.model->extend_greedily(recorded, std::span(ids).subspan(12, 1));
  };
  test.model->extend(recorded, std::span(ids).first(12));
  const auto expected_next = [&] {
    recorded.length = 12;
    const auto row = test.model->extend(recorded, std::span(ids).subspan(12, 1));
    return static_cast<int32_t>(std::max_element(row.begin(), row.end()) - row.begin());
  };
  EXPECT_EQ(next(), expected_next());
  test.model->use_adapters(nullptr);
  EXPECT_EQ(next(), expected_next());
}

TEST_F(LoraTest, ASavedStateResumesToTheBit) {
  TemporaryFolder folder;
  const RecipeSettings recipe = peft_recipe(facts_);
  const auto train = [&](AdaptedModel& test, Optimizer& optimizer, int64_t from, int64_t to) {
    for (int64_t step = from; step <= to; ++step) {
      test.lora->set_place(step, 0);
      test.accumulate(step);
      optimizer.step(recipe, step);
    }
    std::vector<float> values;
    for (const NamedTensor& named : named_tensors(test.lora->weights())) {
      const auto of_one = host_values(*test.backend, named.tensor);
      values.insert(values.end(), of_one.begin(), of_one.end());
    }
    return values;
  };
  for (const Dtype type : {Dtype::f32, Dtype::bf16}) {
    AdaptedModel straight(type, "adapter", 0.1), stopped(type, "adapter", 0.1),
        resumed(type, "adapter", 0.1);
    Optimizer first(*straight.backend, *straight.lora);
    const std::vector<float> want = train(straight, first, 1, 4);
    Optimizer second(*stopped.backend, *stopped.lora);
    train(stopped, second, 1, 2);
    second.save(folder / "state.safetensors");
    Optimizer third(*resumed.backend, *resumed.lora);
    third.load(folder / "state.safetensors");
    EXPECT_EQ(third.steps_done(), 2);
    EXPECT_EQ(train(resumed, third, 3, 4), want);
  }
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
