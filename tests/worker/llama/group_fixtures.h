// What the tests of groups share: a fixture's model on one rank, and the training that one rank and
// several are compared in.
#pragma once

#include "experiments/settings.h"
#include "tests/worker/backend/group.h"
#include "tests/worker/llama/fixtures.h"
#include "worker/llama/optimizer.h"

namespace ropesweep::llama {

/// Half the spacing of f32 just above 1: what one rounding costs at most, relatively.
constexpr double kRounding = 0x1p-24;

/// A rank's model and optimizer, or with no group a whole one's.
struct Member {
  Member(backend::Backend& on, backend::Collective* group, const std::string& name,
         backend::Dtype type = backend::Dtype::f32)
      : config(read_config(fixture(name))),
        parts(on, config, group),
        model(on, config, load_weights(on, fixture(name), config, type, &parts), group),
        optimizer(on, model.weights(), &model.parts()) {}

  Config config;
  WeightParts parts;
  Model model;
  Optimizer optimizer;
};

/// ε far above the gradients' rounding, so that an update is as exact as its gradient.
inline RecipeSettings group_recipe() {
  RecipeSettings recipe;
  recipe.learning_rate = 1e-2;
  recipe.epsilon = 1e-2;
  recipe.steps = 8;
  recipe.warmup_steps = 2;
  recipe.weight_decay = 0.1;
  recipe.schedule = "constant";
  recipe.clip = 0.5;
  return recipe;
}

/// All values of a model's weights or gradients, whole. All ranks of a group call it.
inline std::vector<float> all_values(Model& model, const Weights& kept) {
  std::vector<float> values;
  for (const NamedTensor& named : named_tensors(model.parts().whole(kept))) {
    const std::vector<float> of_one = host_values(model.backend(), named.tensor);
    values.insert(values.end(), of_one.begin(), of_one.end());
  }
  return values;
}

/// What a training left.
struct Training {
  std::vector<double> losses, norms;
  std::vector<float> gradients;  ///< of the first step
  std::vector<float> change;     ///< of the weights over all steps
};

inline std::vector<float> difference(std::vector<float> a, const std::vector<float>& b) {
  for (size_t i = 0; i < a.size(); ++i) a[i] -= b[i];
  return a;
}

/// The bound: each figure is a sum over `rows` tokens taken in another order, `steps` times one
/// upon the other.
inline void expect_same_training(const Training& got, const Training& want, double rows,
                                 const std::string& what) {
  const auto steps = static_cast<double>(want.losses.size());
  ASSERT_EQ(got.losses.size(), want.losses.size()) << what;
  for (size_t i = 0; i < want.losses.size(); ++i) {
    EXPECT_NEAR(got.losses[i], want.losses[i], steps * rows * kRounding * want.losses[i]) << what;
    EXPECT_NEAR(got.norms[i], want.norms[i], steps * rows * kRounding * want.norms[i]) << what;
  }
  EXPECT_LE(relative_difference(got.gradients, want.gradients), rows * kRounding) << what;
  EXPECT_LE(relative_difference(got.change, want.change), steps * rows * kRounding) << what;
}

}  // namespace ropesweep::llama
