// The planner's choices at the shapes that it was made for, and its arithmetic on one done by hand.
#include "experiments/memory_plan.h"

#include <gtest/gtest.h>

namespace ropesweep {
namespace {

constexpr double kGigabyte = 1e9;

ModelGeometry llama_7b() { return {32, 4096, 32, 32, 128, 11008, 32000}; }

RecipeSettings recipe_of(int64_t context_length, int64_t rank = 0) {
  RecipeSettings recipe;
  recipe.context_length = recipe.batch_tokens = context_length;
  recipe.lora.rank = rank;
  return recipe;
}

TEST(MemoryPlan, ALlama7bAt64kTokensFitsAnH200) {
  const MemoryPlan plan = plan_memory(llama_7b(), recipe_of(65536), "bf16", 141e9, true);
  EXPECT_LT(plan.device_bytes(), 141 * kGigabyte);
  EXPECT_TRUE(plan.optimizer_on_host);  // 81 GB of masters and moments
  EXPECT_NEAR(plan.host_bytes(), 12 * 6.74e9, 0.01 * 12 * 6.74e9);
}

TEST(MemoryPlan, WithoutMastersTheMomentsAreLeft) {
  RecipeSettings recipe = recipe_of(4096);
  const double all = plan_memory(llama_7b(), recipe, "bf16", 0, true).optimizer;
  recipe.master_weights = false;
  EXPECT_DOUBLE_EQ(plan_memory(llama_7b(), recipe, "bf16", 0, true).optimizer, all * 2 / 3);
  EXPECT_DOUBLE_EQ(plan_memory(llama_7b(), recipe, "f32", 0, true).optimizer, all * 2 / 3);
}

TEST(MemoryPlan, LoraOfALlama7bAt128kTokensFitsAnH200) {
  const MemoryPlan plan = plan_memory(llama_7b(), recipe_of(131072, 16), "bf16", 141e9, true);
  EXPECT_LT(plan.device_bytes(), 141 * kGigabyte);
  EXPECT_FALSE(plan.optimizer_on_host);
  EXPECT_NE(plan.recompute, Recompute::none);
}

TEST(MemoryPlan, AdaptersAreF32AndTheTargetsAlone) {
  RecipeSettings recipe = recipe_of(4096, 8);
  recipe.lora.targets = {"q", "down"};
  const double adapters = 32.0 * 8 * ((4096 + 4096) + (4096 + 11008));
  const double base = llama_7b().parameters();
  for (const auto& [type, bytes] : {std::pair{"f32", 4.0}, {"bf16", 2.0}}) {
    const MemoryPlan plan = plan_memory(llama_7b(), recipe, type, 0, true);
    // Passes in bf16 work with copies.
    EXPECT_DOUBLE_EQ(plan.weights, base * bytes + adapters * (bytes == 4 ? 4 : 6));
    EXPECT_DOUBLE_EQ(plan.gradients, adapters * 4);
    EXPECT_DOUBLE_EQ(plan.optimizer, adapters * 8);
    recipe.lora.dropout = 0.1;
    EXPECT_DOUBLE_EQ(plan_memory(llama_7b(), recipe, type, 0, true).activations - plan.activations,
                     4096.0 * 11008 * 2 * bytes);
    recipe.lora.dropout = 0;
    // A group shares the base; each member has the adapters.
    EXPECT_DOUBLE_EQ(plan_memory(llama_7b(), recipe, type, 0, true, 2).optimizer, adapters * 8);
  }
}

TEST(MemoryPlan, KeepsWhatFits) {
  const MemoryPlan small = plan_memory(llama_7b(), recipe_of(4096), "bf16", 0, true);
  EXPECT_EQ(small.recompute, Recompute::none);
  EXPECT_FALSE(small.optimizer_on_host);
  const double wanted = small.device_bytes();
  const MemoryPlan less = plan_memory(llama_7b(), recipe_of(4096), "bf16", wanted, true);
  EXPECT_EQ(less.recompute, Recompute::all_but_attention);  // a little is left to the runtime
  EXPECT_LT(less.device_bytes(), 0.96 * wanted);
  // Where the device is the host, nothing can be put elsewhere.
  const MemoryPlan host = plan_memory(llama_7b(), recipe_of(65536), "bf16", 60e9, false);
  EXPECT_FALSE(host.optimizer_on_host);
  EXPECT_GT(host.device_bytes(), 60e9);
  EXPECT_NE(host.text().find("layers recomputed"), std::string::npos);
}

TEST(MemoryPlan, AGroupSharesWhatIsKept) {
  RecipeSettings recipe = recipe_of(4096);
  recipe.batch_tokens = 16 * 4096;
  const MemoryPlan alone = plan_memory(llama_7b(), recipe, "bf16", 0, true);
  const MemoryPlan four = plan_memory(llama_7b(), recipe, "bf16", 0, true, 4);
  EXPECT_DOUBLE_EQ(four.weights, alone.weights / 4);
  EXPECT_DOUBLE_EQ(four.optimizer, alone.optimizer / 4);
  EXPECT_FALSE(four.split_sequences) << "each has chunks of its own";
  // Two layers' weights in bf16, f32 gradients of two and what is summed into them.
  const double layer = 4 * 4096.0 * 4096 + 3 * 4096.0 * 11008;
  EXPECT_NEAR(four.activations - alone.activations, 20 * layer, 0.2 * layer);
}

TEST(MemoryPlan, AGroupSplitsWhatIsTooFewOrTooLong) {
  const MemoryPlan few = plan_memory(llama_7b(), recipe_of(65536), "bf16", 0, true, 4);
  EXPECT_TRUE(few.split_sequences) << "one chunk, four members";
  RecipeSettings recipe = recipe_of(131072);
  recipe.batch_tokens = 4 * 131072;
  const MemoryPlan roomy = plan_memory(llama_7b(), recipe, "bf16", 141e9, true, 4);
  EXPECT_FALSE(roomy.split_sequences);
  const MemoryPlan narrow = plan_memory(llama_7b(), recipe, "bf16", 80e9, true, 4);
  EXPECT_TRUE(narrow.split_sequences);
  EXPECT_LT(narrow.device_bytes(), 80e9);
  EXPECT_FALSE(narrow.optimizer_on_host);
  EXPECT_NE(narrow.text().find("sequences split"), std::string::npos);
}

TEST(MemoryPlan, CountsByHand) {
  // One layer, D = 8, F = 16, two heads of 4, one for keys and values; 2 chunks of 3 tokens in
  // bf16.
  const ModelGeometry tiny{1, 8, 2, 1, 4, 16, 10};
  const double rows = 6, lse = 8, statistics = 8 + lse;
  const double layer = 2 * (2 * 8 + 2 * 8 + 2 * 4) + 2 * (2 * 8 + 3 * 16) + statistics;
  const double passing = 2 * (4 * 8 + 2 * 8 + 2 * 4);
  const double head = rows * (10 * 6 + 2 * 2 * 8);
  EXPECT_DOUBLE_EQ(activation_bytes(tiny, 2, 3, "bf16", Recompute::none),
                   rows * (layer + passing) + head);
  EXPECT_DOUBLE_EQ(activation_bytes(tiny, 2, 3, "bf16", Recompute::layer),
                   rows * (2 * 8 + layer + passing) + head);
  EXPECT_DOUBLE_EQ(activation_bytes(tiny, 2, 3, "bf16", Recompute::all_but_attention),
                   rows * (2 * 8 + 2 * 8 + lse + layer + passing) + head);
}

}  // namespace
}  // namespace ropesweep
