// Training with adapters: recomputation, dropout and its gradient, saved states; and decoding.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/worker/llama/lora_fixtures.h"

namespace ropesweep::llama {
namespace {

using backend::Dtype;

class LoraTraining : public LoraTest {};

TEST_F(LoraTraining, RecomputingChangesNothing) {
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

TEST_F(LoraTraining, DropoutDependsOnThePlaceInTheBatchAlone) {
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
TEST_F(LoraTraining, DropoutsGradientIsTheLosssSlope) {
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

TEST_F(LoraTraining, DecodingAppliesThem) {
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

TEST_F(LoraTraining, ASavedStateResumesToTheBit) {
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

}  // namespace
}  // namespace ropesweep::llama
