// The model against transformers and PyTorch: logits, gradients, training, and bf16's own error.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tests/worker/llama/fixtures.h"
#include "worker/llama/optimizer.h"

namespace ropesweep::llama {
namespace {

using backend::Dtype;

class Reference : public testing::TestWithParam<const char*> {
 protected:
  Reference()
      : facts_(read_json(fixture(GetParam()) / "expected.json")),
        expected_(fixture(GetParam()) / "expected.safetensors") {}

  std::vector<float> expected(const std::string& name) const {
    return to_f32(expected_.tensor(name));
  }

  /// Our logits at the fixture's positions of one length.
  std::vector<float> chosen_logits(TestModel& test, const std::string& scheme,
                                   const std::string& length) const {
    test.use(scheme, scheme == "dynamic-ntk" ? 2 : scheme == "none" ? 1 : 4);
    const std::vector<float> all = test.model->logits(token_ids(std::stoll(length), 1), 1);
    std::vector<float> chosen;
    for (const int64_t position : facts_["positions"][length]) {
      const auto row = all.begin() + position * test.config.vocabulary;
      chosen.insert(chosen.end(), row, row + test.config.vocabulary);
    }
    return chosen;
  }

  static std::vector<std::string> lengths() {
    return is_slow() ? std::vector<std::string>{"32", "257"}
                     : std::vector<std::string>{"32", "257", "1024", "4096"};
  }

  nlohmann::json facts_;
  SafetensorsReader expected_;
};

TEST_P(Reference, LogitsAreTransformers) {
  TestModel test(GetParam());
  for (const std::string scheme : {"none", "linear", "dynamic-ntk", "yarn"}) {
    for (const std::string& length : lengths()) {
      const auto want = expected("logits." + scheme + "." + length);
      EXPECT_LT(relative_difference(chosen_logits(test, scheme, length), want), 1e-4)
          << scheme << " at " << length;
    }
  }
}

// Two bf16 results with errors of the same size differ from f32 by about the same; a factor of 1.25
// leaves room for the luck of roundings at a handful of positions.
TEST_P(Reference, Bf16LogitsErrNoMoreThanPyTorchs) {
  TestModel test(GetParam(), Dtype::bf16);
  for (const std::string scheme : {"none", "linear", "dynamic-ntk", "yarn"}) {
    for (const std::string& length : lengths()) {
      const auto want = expected("logits." + scheme + "." + length);
      const double theirs = facts_["bf16_deviation"][scheme + "." + length];
      EXPECT_LT(relative_difference(chosen_logits(test, scheme, length), want), 1.25 * theirs)
          << scheme << " at " << length;
    }
  }
}

struct Gradients {
  double loss = 0;
  std::map<std::string, std::vector<float>> by_name;
};

Gradients gradients_of(TestModel& test) {
  test.use("yarn", 4);
  const std::vector<int32_t> ids = token_ids(2 * 48, 100);
  const std::vector<int32_t> targets = next_tokens(ids, 48);
  const Weights gradients = zeros_like(*test.backend, test.model->weights());
  Gradients result;
  result.loss =
      test.model->accumulate_gradients(ids, targets, 2, 1.0 / 94, gradients, Recompute::none) / 94;
  for (const NamedTensor& gradient : named_tensors(gradients)) {
    result.by_name[gradient.name] = host_values(*test.backend, gradient.tensor);
  }
  return result;
}

TEST_P(Reference, GradientOfEveryWeightIsPyTorchs) {
  TestModel test(GetParam());
  const Gradients ours = gradients_of(test);
  EXPECT_NEAR(ours.loss, facts_["gradient_loss"].get<double>(), 1e-5 * ours.loss);
  EXPECT_EQ(ours.by_name.size(), facts_["bf16_gradient_deviation"].size());
  for (const auto& [name, gradient] : ours.by_name) {
    EXPECT_LT(relative_difference(gradient, expected("gradient." + name)), 1e-4) << name;
  }
}

// Norms of two independent errors of n elements are apart by a factor whose deviation is 1/√n: a
// bias has too few elements for 1.25, and gets three deviations.
double room_for_luck(const std::string& name, size_t elements) {
  if (!name.ends_with(".bias")) return 1.25;
  return std::max(1.25, 1 + 3 / std::sqrt(static_cast<double>(elements)));
}

TEST_P(Reference, Bf16GradientsErrNoMoreThanPyTorchs) {
  TestModel test(GetParam(), Dtype::bf16);
  for (const auto& [name, gradient] : gradients_of(test).by_name) {
    const double theirs = facts_["bf16_gradient_deviation"][name];
    EXPECT_LT(relative_difference(gradient, expected("gradient." + name)),
              room_for_luck(name, gradient.size()) * theirs)
        << name;
  }
}

TEST_P(Reference, TwentyStepsOfAdamwAreTorchs) {
  TestModel test(GetParam());
  const nlohmann::json& facts = facts_["training"];
  RecipeSettings recipe;
  recipe.learning_rate = facts["learning_rate"];
  recipe.beta1 = facts["beta1"];
  recipe.beta2 = facts["beta2"];
  recipe.epsilon = facts["epsilon"];
  recipe.weight_decay = facts["weight_decay"];
  recipe.clip = facts["clip"];
  recipe.warmup_steps = facts["warmup_steps"];
  recipe.schedule = facts["schedule"];
  recipe.steps = facts["steps"];
  Optimizer optimizer(*test.backend, test.model->weights());
  for (int64_t step = 1; step <= recipe.steps; ++step) {
    const std::vector<int32_t> ids = token_ids(2 * 48, 100 + step % 4);
    const double loss = test.model->accumulate_gradients(ids, next_tokens(ids, 48), 2, 1.0 / 94,
                                                         optimizer.gradients(), Recompute::none);
    const double want = facts["losses"][static_cast<size_t>(step - 1)];
    EXPECT_NEAR(loss / 94, want, 1e-5 * want) << "step " << step;
    const double norm = facts["norms"][static_cast<size_t>(step - 1)];
    EXPECT_NEAR(optimizer.step(recipe, step), norm, 1e-4 * norm) << "step " << step;
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, Reference, testing::ValuesIn(shapes),
                         [](const auto& shape) { return std::string(shape.param); });

}  // namespace
}  // namespace ropesweep::llama
