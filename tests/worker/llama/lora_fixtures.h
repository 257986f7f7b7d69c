// A fixture's model with PEFT's adapters (lora_fixtures.py) and their figures.
#pragma once

#include <gtest/gtest.h>

#include <map>

#include "tests/worker/llama/fixtures.h"
#include "worker/llama/lora_files.h"
#include "worker/llama/optimizer.h"

namespace ropesweep::llama {

inline constexpr int64_t kTokens = 48, kTargets = 2 * (kTokens - 1);
inline const char* const kBase = "grouped_tied";

inline std::filesystem::path lora_fixture(const std::string& name) {
  return fixture(kBase) / "lora" / name;
}

/// A fixture's model with an adapter of PEFT's, applied.
struct AdaptedModel : TestModel {
  explicit AdaptedModel(backend::Dtype type = backend::Dtype::f32,
                        const std::string& adapter = "adapter", double dropout = 0)
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

inline RecipeSettings peft_recipe(const nlohmann::json& facts) {
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

}  // namespace ropesweep::llama
