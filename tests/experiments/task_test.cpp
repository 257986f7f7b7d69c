// Tasks: what is fused, what is needed first, and what they cost.
#include "experiments/task.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "experiments/cost.h"
#include "experiments/error.h"
#include "tests/experiments/test_sweeps.h"

namespace ropesweep {
namespace {

using test::digests_of;
using test::grid_of;
using test::sweep_with;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

const ModelGeometry small = {.layers = 2,
                             .width = 64,
                             .heads = 4,
                             .kv_heads = 2,
                             .head_dim = 16,
                             .hidden = 128,
                             .vocabulary = 100};

std::vector<Task> tasks_of(const Sweep& sweep, const std::vector<std::string>& finished = {}) {
  return make_tasks(sweep, grid_of(sweep), digests_of(sweep), {{"default", small}}, finished,
                    "/stores/test.d");
}

std::vector<int64_t> lengths(const Task& task) {
  std::vector<int64_t> all;
  for (const Cell& cell : task.cells) all.push_back(cell.context_length);
  return all;
}

TEST(Tasks, TruncatedLengthsOfAStaticSchemeAreOnePass) {
  const std::vector<Task> tasks = tasks_of(sweep_with(R"toml(scheme = "yarn"
eval_scale = 4
context_length = [256, 64, 128]
dataset = "book")toml"));
  ASSERT_EQ(tasks.size(), 1U);
  EXPECT_THAT(lengths(tasks[0]), ElementsAre(64, 128, 256));
  EXPECT_EQ(tasks[0].scheme, "yarn");
  EXPECT_EQ(tasks[0].scale, 4);
  EXPECT_EQ(tasks[0].dataset.window, "truncated");
  EXPECT_EQ(tasks[0].model, "/models/base");
  EXPECT_EQ(tasks[0].weights, "/models/base");
  EXPECT_EQ(tasks[0].weights_key, sha256_hex("/models/base"));
}

TEST(Tasks, NothingElseFuses) {
  const std::vector<Task> dynamic = tasks_of(sweep_with(R"toml(scheme = "dynamic-ntk"
eval_scale = 4
context_length = [64, 128]
dataset = "book")toml"));
  EXPECT_EQ(dynamic.size(), 2U);
  const std::vector<Task> others = tasks_of(sweep_with(R"toml(scheme = "yarn"
eval_scale = 4
context_length = [64, 128]
dataset = ["slides", "lines"]
seed = [0, 1])toml"));
  EXPECT_EQ(others.size(), 8U) << "two lengths, two data sets, two seeds";
}

TEST(Tasks, EqualEvaluationsAreDoneOnce) {
  const std::vector<Task> tasks = tasks_of(sweep_with(R"toml(scheme = ["none", "linear", "yarn"]
eval_scale = [1, 2]
context_length = 64
dataset = "lines")toml"));
  ASSERT_EQ(tasks.size(), 3U) << "scale 1 of all three, linear at 2, yarn at 2";
  EXPECT_EQ(tasks[0].cells.size(), 3U);
  EXPECT_EQ(tasks[0].scheme, "none");
  EXPECT_EQ(tasks[0].scale, 1);
}

TEST(Tasks, FineTunesComeFirstAndAreNeeded) {
  const std::vector<Task> tasks = tasks_of(sweep_with(R"toml(scheme = "linear"
train_scale = 4
context_length = [64, 128]
dataset = "book"
recipe = "more")toml"));
  ASSERT_EQ(tasks.size(), 3U);
  const Task& parent = tasks[0];
  const Task& child = tasks[1];
  const Task& evaluation = tasks[2];
  EXPECT_EQ(parent.kind, TaskKind::fine_tune);
  EXPECT_EQ(parent.id, parent.fine_tune.id);
  EXPECT_EQ(parent.scheme, "linear");
  EXPECT_EQ(parent.scale, 4);
  EXPECT_EQ(parent.weights, "/models/base");
  EXPECT_EQ(parent.training_data.kind, "text");
  EXPECT_EQ(parent.training_data.path, "/data/train.jsonl");
  EXPECT_EQ(parent.validation_data.kind, "");
  EXPECT_EQ(parent.output, "/stores/test.d/checkpoints/" + parent.id);
  EXPECT_THAT(parent.needs, IsEmpty());
  EXPECT_THAT(child.needs, ElementsAre(parent.id));
  EXPECT_EQ(child.weights, parent.output);
  EXPECT_EQ(child.weights_key, parent.id);
  EXPECT_THAT(evaluation.needs, ElementsAre(child.id));
  EXPECT_EQ(evaluation.weights, child.output);
  EXPECT_EQ(evaluation.model, "/models/base");
}

TEST(Tasks, FinishedThingsAreLeftOut) {
  const Sweep sweep = sweep_with(R"toml(scheme = "linear"
train_scale = 4
context_length = [64, 128]
dataset = "book"
recipe = "more")toml");
  const std::vector<Task> all = tasks_of(sweep);
  const std::string parent = all[0].id, child = all[1].id;
  const std::string first = all[2].cells[0].id, second = all[2].cells[1].id;

  const std::vector<Task> after_parent = tasks_of(sweep, {parent});
  ASSERT_EQ(after_parent.size(), 2U);
  EXPECT_THAT(after_parent[0].needs, IsEmpty());
  const std::vector<Task> after_child = tasks_of(sweep, {child});
  ASSERT_EQ(after_child.size(), 1U) << "the parent of a finished stage is not needed";
  EXPECT_EQ(after_child[0].kind, TaskKind::evaluation);
  const std::vector<Task> after_cell = tasks_of(sweep, {parent, child, first});
  ASSERT_EQ(after_cell.size(), 1U);
  EXPECT_THAT(lengths(after_cell[0]), ElementsAre(128));
  EXPECT_THAT(tasks_of(sweep, {first, second}), IsEmpty());
}

TEST(Tasks, TrainingFromScratch) {
  const std::vector<Task> tasks = tasks_of(sweep_with(R"toml(scheme = "none"
context_length = 64
dataset = "lines"
recipe = "longer")toml",
                                                      R"toml([recipes.scratch]
init = "/tiny/config.json"
data = "synthetic-wiki"
data_seed = 9
context_length = 32
steps = 4
batch_tokens = 64
learning_rate = 0.1
validation = "book"
[recipes.longer]
from = "scratch"
context_length = 64)toml"));
  ASSERT_EQ(tasks.size(), 3U);
  EXPECT_EQ(tasks[0].weights, "");
  EXPECT_EQ(tasks[0].model, "/tiny");
  EXPECT_EQ(tasks[0].fine_tune.recipe.init, "/tiny/config.json");
  EXPECT_EQ(tasks[0].training_data.kind, "synthetic-wiki");
  EXPECT_EQ(tasks[0].training_data.data_seed, 9U);
  EXPECT_EQ(tasks[0].validation_data.path, "/data/book.txt");
  EXPECT_EQ(tasks[1].weights, tasks[0].output);
  EXPECT_EQ(tasks[1].model, "/tiny") << "the chain's start, not the sweep's model";
  EXPECT_EQ(tasks[2].model, "/tiny");
}

TEST(Tasks, EveryCellIsInExactlyOneTaskAndIdsDiffer) {
  const Sweep sweep =
      sweep_with(R"toml(scheme = ["none", "linear", "ntk", "dynamic-ntk", "power(0.5)"]
train_scale = [1, 4]
eval_scale = ["train", 8]
context_length = [64, 128, 256]
dataset = ["book", "slides", "lines"]
recipe = ["zero-shot", "tuned", "more"]
seed = [0, 1])toml");
  std::multiset<std::string> done;
  std::set<std::string> ids;
  std::set<std::string> made;
  for (const Task& task : tasks_of(sweep)) {
    EXPECT_TRUE(ids.insert(task.id).second);
    for (const std::string& need : task.needs) EXPECT_TRUE(made.contains(need));
    if (task.kind == TaskKind::fine_tune) made.insert(task.id);
    for (const Cell& cell : task.cells) done.insert(cell.id);
    EXPECT_GT(task.flops, 0);
    EXPECT_GT(task.memory_bytes, 0);
  }
  const Grid grid = grid_of(sweep);
  EXPECT_EQ(done.size(), grid.cells.size());
  for (const Cell& cell : grid.cells) EXPECT_EQ(done.count(cell.id), 1U);
  EXPECT_EQ(made.size(), grid.fine_tunes.size());
}

DatasetSettings dataset_of(const std::string& kind, const std::string& path) {
  DatasetSettings dataset;
  dataset.kind = kind;
  dataset.path = path;
  return dataset;
}

TEST(Cost, ForwardPassByHand) {
  // Parameters of a layer: q 64·64, k and v 64·32 each, o 64·64, three of 64·128.
  const double layer = 4096 + 2 * 2048 + 4096 + 3 * 8192;
  const double attention = 2 * 2 * 64 * 10 * 11;  // Σ over 10 tokens of 4·H·K·t, two layers
  EXPECT_DOUBLE_EQ(forward_flops(small, 10, 3), 2 * 2 * layer * 10 + attention + 2 * 64 * 100 * 3);
  EXPECT_DOUBLE_EQ(small.parameters(), 2 * layer + 5 * 64 + 2 * 100 * 64);
}

TEST(Cost, FineTuneIsThreePasses) {
  RecipeSettings recipe;
  recipe.context_length = 32;
  recipe.batch_tokens = 128;
  recipe.steps = 10;
  const double chunk = forward_flops(small, 32, 32);
  EXPECT_DOUBLE_EQ(fine_tune_cost(small, recipe, "f32").flops, 3 * 40 * chunk);
  recipe.validation = "book";
  recipe.validation_documents = 7;
  recipe.validate_every = 4;
  EXPECT_DOUBLE_EQ(fine_tune_cost(small, recipe, "f32").flops, (3 * 40 + 3 * 7) * chunk);
}

TEST(Cost, FusedLengthsCostTheLongest) {
  DatasetSettings book = dataset_of("text", "/b");
  book.window = "truncated";
  book.samples = 3;
  const Cost one = evaluation_cost(small, book, {256}, "f32");
  EXPECT_DOUBLE_EQ(one.flops, 3 * forward_flops(small, 256, 256));
  EXPECT_DOUBLE_EQ(evaluation_cost(small, book, {64, 256, 128}, "f32").flops, one.flops);
  EXPECT_LT(evaluation_cost(small, book, {256}, "bf16").memory_bytes, one.memory_bytes);
  book.samples = 0;
  EXPECT_DOUBLE_EQ(evaluation_cost(small, book, {256}, "f32").flops,
                   assumed_documents * forward_flops(small, 256, 256));
}

TEST(Cost, LongerIsDearer) {
  for (const DatasetSettings& dataset : {dataset_of("lines", ""), dataset_of("text", "/b")}) {
    const Cost near = evaluation_cost(small, dataset, {512}, "f32");
    const Cost far = evaluation_cost(small, dataset, {1024}, "f32");
    EXPECT_GT(far.flops, 2 * near.flops);
    EXPECT_GT(far.memory_bytes, near.memory_bytes);
  }
}

}  // namespace
}  // namespace ropesweep
