// Recipes of the program: their published settings, use by name, variations by `like`, and
// variables in paths.
#include "experiments/shipped_recipes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "experiments/error.h"
#include "experiments/grid.h"

namespace ropesweep {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsSupersetOf;

constexpr const char* kHead = R"toml([model]
path = "/models/base"
[datasets.pg19]
path = "/data/pg19.jsonl"
[datasets.redpajama]
path = "/data/redpajama.jsonl"
[datasets.redpajama-validation]
path = "/data/held-out.jsonl"
[datasets.vicuna]
path = "/data/vicuna.json"
)toml";

Sweep sweep_of(const std::string& recipes, const std::string& more = "") {
  return parse_sweep(std::string(kHead) + R"toml([axes]
scheme = "yarn"
context_length = 4096
dataset = "passkey"
recipe = )toml" + recipes +
                         "\n" + more,
                     "dir/sweep.toml");
}

std::string failure(const std::string& recipes, const std::string& more = "") {
  try {
    sweep_of(recipes, more);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(ShippedRecipes, AreThoseOfTheStudies) {
  EXPECT_THAT(shipped_recipe_names(), IsSupersetOf({"redpajama", "redpajama-vicuna", "yarn-s16",
                                                    "yarn-s32", "position-interpolation"}));
}

TEST(ShippedRecipes, AreUsedByNameWithWhatTheyBuildOn) {
  const Sweep sweep = sweep_of(R"(["zero-shot", "yarn-s32"])");
  ASSERT_EQ(sweep.recipes.size(), 2U);
  const RecipeSettings &first = sweep.recipes.at("yarn-s16"),
                       &second = sweep.recipes.at("yarn-s32");
  EXPECT_EQ(first.data, "pg19");
  EXPECT_EQ(first.context_length, 65536);
  EXPECT_EQ(first.batch_tokens, 64 * 65536);
  EXPECT_EQ(first.steps, 400);
  EXPECT_EQ(first.learning_rate, 2e-5);
  EXPECT_EQ(first.beta2, 0.95);
  EXPECT_EQ(first.weight_decay, 0);
  EXPECT_EQ(first.warmup_steps, 20);
  EXPECT_EQ(first.schedule, "linear");
  EXPECT_EQ(first.train_scale, 16);
  EXPECT_EQ(second.from, "yarn-s16");
  EXPECT_EQ(second.steps, 200);
  EXPECT_EQ(second.train_scale, 32);
  EXPECT_EQ(second.context_length, 65536);
}

TEST(ShippedRecipes, LoraComesOnTopOfRedPajama) {
  const Sweep sweep = sweep_of(R"("redpajama-vicuna")");
  EXPECT_EQ(sweep.recipes.at("redpajama").batch_tokens, 32 * 4096);
  EXPECT_EQ(sweep.recipes.at("redpajama").warmup_steps, 300);
  EXPECT_EQ(sweep.recipes.at("redpajama").schedule, "linear");
  EXPECT_EQ(sweep.recipes.at("redpajama").overlap, 0.5);
  EXPECT_EQ(sweep.recipes.at("redpajama").minimum_characters, 20481);
  const RecipeSettings& tuned = sweep.recipes.at("redpajama-vicuna");
  EXPECT_EQ(tuned.from, "redpajama");
  EXPECT_EQ(tuned.conversations, "vicuna");
  EXPECT_EQ(tuned.overlap, 0);
  EXPECT_EQ(tuned.lora.alpha, 16);
  EXPECT_EQ(tuned.lora.dropout, 0.05);
  EXPECT_EQ(tuned.lora.targets.size(), 7U);
}

TEST(ShippedRecipes, AnyKeyIsOverridden) {
  const Sweep sweep = sweep_of(R"(["yarn-s32", "short"])", R"toml([recipes.yarn-s16]
like = "yarn-s16"
data = "/data/other.jsonl"
steps = 40
[recipes.short]
like = "redpajama-vicuna"
from = "yarn-s16"
tokens = 524_288
warmup_steps = 0
lora = { rank = 4 }
)toml");
  EXPECT_EQ(sweep.recipes.at("yarn-s16").data, "/data/other.jsonl");
  EXPECT_EQ(sweep.recipes.at("yarn-s16").steps, 40);
  EXPECT_EQ(sweep.recipes.at("yarn-s16").warmup_steps, 20);
  EXPECT_EQ(sweep.recipes.at("yarn-s32").data, "/data/other.jsonl") << "a child of the changed one";
  const RecipeSettings& made = sweep.recipes.at("short");
  EXPECT_EQ(made.from, "yarn-s16");
  EXPECT_EQ(made.steps, 2) << "tokens take the place of steps";
  EXPECT_EQ(made.lora.rank, 4);
  EXPECT_EQ(made.lora.dropout, 0.05);
}

TEST(ShippedRecipes, AVariationOfAnotherTableIsTheSameFineTuneWhereNothingDiffers) {
  const std::string tables = R"toml([recipes.one]
data = "/data/other.jsonl"
context_length = 64
batch_tokens = 128
steps = 4
learning_rate = 1e-3
train_scale = 2
[recipes.two]
like = "one"
)toml";
  const Sweep sweep = sweep_of(R"(["one", "two"])", tables);
  Digests digests;
  for (const std::string& path : referenced_paths(sweep)) digests[path] = sha256_hex(path);
  EXPECT_EQ(expand(sweep, digests).fine_tunes.size(), 1U);
}

TEST(ShippedRecipes, ATableOfTheSameNameIsTheFilesOwn) {
  const std::string own = R"toml([recipes.redpajama]
data = "/data/other.jsonl"
context_length = 64
batch_tokens = 128
steps = 4
learning_rate = 1e-3
)toml";
  EXPECT_EQ(sweep_of(R"("redpajama")", own).recipes.at("redpajama").warmup_steps, 0);
}

TEST(ShippedRecipes, ErrorsNameTheLineThatAskedForThem) {
  EXPECT_THAT(failure(R"("yarn-s16")", "[datasets.wiki]\npath = \"\"\n"),
              HasSubstr("[datasets.wiki]"));
  EXPECT_EQ(failure(R"("mine")", "[recipes.mine]\nlike = \"yarn-s17\"\n"),
            "dir/sweep.toml:17: [recipes.mine] like names the unknown recipe \"yarn-s17\"; did you "
            "mean \"yarn-s16\"?");
  EXPECT_EQ(failure(R"("a")", "[recipes.a]\nlike = \"b\"\n[recipes.b]\nlike = \"a\"\n"),
            "dir/sweep.toml:17: [recipes.a] like makes a circle: a recipe can't be like itself");
  EXPECT_THAT(
      failure(R"("mine")", "[recipes.mine]\nlike = \"yarn-s16\"\nsteps = 10\n"),
      HasSubstr("dir/sweep.toml:16: [recipes.mine] warmup_steps (20) must be at most steps"));
}

TEST(SweepPaths, HaveVariables) {
  ::setenv("ROPESWEEP_TEST_DATA", "/somewhere", 1);
  ::unsetenv("ROPESWEEP_TEST_NONE");
  const auto path_of = [](const std::string& text) {
    return sweep_of(R"("zero-shot")", "[datasets.book]\npath = \"" + text + "\"\n")
        .datasets.at("book")
        .path;
  };
  EXPECT_EQ(path_of("${ROPESWEEP_TEST_DATA}/book.txt"), "/somewhere/book.txt");
  EXPECT_EQ(path_of("${ROPESWEEP_TEST_NONE:-/else}/book.txt"), "/else/book.txt");
  EXPECT_EQ(path_of("${ROPESWEEP_TEST_DATA:-/else}/a${ROPESWEEP_TEST_NONE:-b}.txt"),
            "/somewhere/ab.txt");
  EXPECT_EQ(path_of("/a/$5.txt"), "/a/$5.txt");
  EXPECT_THAT(failure(R"("zero-shot")", "[datasets.b]\npath = \"${ROPESWEEP_TEST_NONE}/b.txt\"\n"),
              HasSubstr("the environment variable ROPESWEEP_TEST_NONE is not set"));
}

}  // namespace
}  // namespace ropesweep
