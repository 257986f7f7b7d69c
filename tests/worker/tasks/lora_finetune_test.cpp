// Fine-tuning with LoRA as a task: what it leaves, stopping and going on to the bit, what is
// measured of it, stages upon it, groups.
#include <gtest/gtest.h>

#include "tests/worker/backend/group.h"
#include "tests/worker/tasks/tiny_model.h"
#include "worker/llama/lora_files.h"
#include "worker/tasks/loss_record.h"

namespace ropesweep::tasks {
namespace {

namespace fs = std::filesystem;

class LoraFinetune : public testing::Test {
 protected:
  LoraFinetune()
      : directory_(make_model_directory(folder_ / "model")),
        training_(write_documents(folder_ / "training.jsonl", {40, 7, 90, 33, 55, 21})),
        validation_(write_documents(folder_ / "validation.jsonl", {30, 25})) {}

  /// As a sweep's: with an id, in its checkpoints.
  Task task(const std::string& id, const std::string& type = "f32") const {
    Task made;
    made.id = made.fine_tune.id = id;
    made.fine_tune.canonical = "test " + id;
    made.kind = TaskKind::fine_tune;
    made.model = made.weights = directory_.string();
    made.weights_key = "base";
    made.scheme = "linear";
    made.scale = 2;
    made.workers.type = type;
    made.output = (folder_ / "checkpoints" / id).string();
    made.training_data.kind = made.validation_data.kind = "text";
    made.training_data.path = training_.string();
    made.validation_data.path = validation_.string();
    RecipeSettings& recipe = made.fine_tune.recipe;
    recipe.context_length = 24;
    recipe.steps = 6;
    recipe.batch_tokens = 96;
    recipe.learning_rate = 1e-2;
    recipe.validate_every = 3;
    recipe.save_every = 2;
    recipe.lora = {.rank = 4, .alpha = 8, .dropout = 0.1, .targets = {"q", "v", "down"}};
    made.fine_tune.seed = 5;
    return made;
  }
  /// The stage `id` upon another.
  Task child(const std::string& id, const Task& parent, int64_t rank) const {
    Task made = task(id, parent.workers.type);
    made.weights = parent.output;
    made.weights_key = parent.id;
    made.fine_tune.recipe.lora = {.rank = rank};
    return made;
  }
  Task evaluation(const Task& of) const {
    Task made = evaluation_task(directory_, "text", {16});
    made.weights = of.output;
    made.weights_key = of.id;
    made.workers.type = of.workers.type;
    made.dataset.path = validation_.string();
    made.dataset.stride = 8;
    return made;
  }
  static std::string figures(const Outcome& outcome) {
    return nlohmann::json(outcome.cells.at(0).measures).dump();
  }
  static Outcome run(const Task& made) {
    TaskRunner runner("cpu", 1);
    return runner.run(made, TaskContext());
  }
  static std::string adapter(const Task& made) {
    return read_file(fs::path(made.output) / "adapter_model.safetensors");
  }

  TemporaryFolder folder_;
  fs::path directory_, training_, validation_;
};

TEST_F(LoraFinetune, LeavesAnAdapterThatLearned) {
  const Task made = task("a");
  const Outcome outcome = run(made);
  EXPECT_EQ(outcome.failure_kind, FailureKind::none);
  const Curve& curve = outcome.fine_tunes.at(0).curve;
  EXPECT_LT(curve.validation_loss.at(5), curve.validation_loss.at(2));
  const fs::path output = made.output;
  for (const char* name :
       {"adapter_config.json", "config.json", "tokenizer.json", "finished.json"}) {
    EXPECT_TRUE(fs::exists(output / name)) << name;
  }
  EXPECT_FALSE(fs::exists(output / "model.safetensors"));
  const auto config = nlohmann::json::parse(read_file(output / "adapter_config.json"));
  EXPECT_EQ(config["base_model_name_or_path"], directory_.string());
  EXPECT_EQ(config["target_modules"], nlohmann::json({"q_proj", "v_proj", "down_proj"}));
  EXPECT_EQ(config["r"], 4);
  EXPECT_EQ(llama::read_config(output).own_scheme, "linear");
}

// The first loss is the base's: B = 0, whatever is dropped.
TEST_F(LoraFinetune, BeginsAtTheBase) {
  Task full = task("full");
  full.fine_tune.recipe.lora = {};
  EXPECT_EQ(run(task("a")).fine_tunes[0].curve.training_loss[0],
            run(full).fine_tunes[0].curve.training_loss[0]);
}

TEST_F(LoraFinetune, StoppedItGoesOnToTheBit) {
  for (const char* type : {"f32", "bf16"}) {
    const std::string name = type;
    const Task straight = task(name + "-straight", type);
    const Outcome expected = run(straight);
    Task made = task(name + "-stopped", type);
    made.fine_tune.canonical = straight.fine_tune.canonical;
    std::atomic<bool> stop = false;
    TaskContext context;
    context.stop = &stop;
    context.progress = [&](double, const std::string& what) {
      stop = stop || what.starts_with("step 4 of");
    };
    TaskRunner runner("cpu", 1);
    EXPECT_THROW(runner.run(made, context), Error);
    const fs::path output = made.output;
    EXPECT_TRUE(fs::exists(output / "state"));
    EXPECT_FALSE(fs::exists(output / "adapter_config.json"));
    const Outcome resumed = run(made);
    EXPECT_EQ(nlohmann::json(resumed.fine_tunes[0].curve),
              nlohmann::json(expected.fine_tunes[0].curve));
    EXPECT_FALSE(adapter(made).empty());
    EXPECT_EQ(adapter(made), adapter(straight));
  }
}

// The runner that trained has merged weights; another loads base and adapter. Same figures.
TEST_F(LoraFinetune, IsMeasuredMerged) {
  for (const char* type : {"f32", "bf16"}) {
    const Task made = task(type, type);
    TaskRunner trained("cpu", 1), other("cpu", 1);
    trained.run(made, TaskContext());
    const std::string figure = figures(trained.run(evaluation(made), TaskContext()));
    EXPECT_EQ(figures(other.run(evaluation(made), TaskContext())), figure);
    Task base = evaluation(made);
    base.weights = directory_.string();
    base.weights_key = "base";
    EXPECT_NE(figures(other.run(base, TaskContext())), figure);
    // By its directory alone, as `eval --model` has it.
    Task alone = evaluation(made);
    alone.model = made.output;
    alone.weights_key = made.output;
    EXPECT_EQ(figures(run(alone)), figure);
  }
}

// A stage upon a LoRA stage begins at its merged weights, be it of all weights or LoRA again.
TEST_F(LoraFinetune, StagesStandOnEachOther) {
  const Task first = task("first", "bf16");
  run(first);
  const Task full = child("full", first, 0), low = child("low", first, 2);
  const Outcome of_full = run(full), of_low = run(low);
  EXPECT_EQ(of_full.fine_tunes[0].curve.training_loss[0],
            of_low.fine_tunes[0].curve.training_loss[0]);
  EXPECT_TRUE(fs::exists(fs::path(full.output) / "model.safetensors"));
  const auto config =
      nlohmann::json::parse(read_file(fs::path(low.output) / "adapter_config.json"));
  EXPECT_EQ(config["base_model_name_or_path"], "../first");
  TaskRunner runner("cpu", 1);
  const Task upon = child("upon", low, 0);
  runner.run(upon, TaskContext());
  const std::string figure = figures(run(evaluation(low)));
  EXPECT_NE(figure, figures(run(evaluation(first))));
  // A store may move: stages are found from each other.
  fs::rename(folder_ / "checkpoints", folder_ / "moved");
  Task moved = evaluation(low);
  moved.weights = (folder_ / "moved" / "low").string();
  EXPECT_EQ(figures(run(moved)), figure);
}

TEST_F(LoraFinetune, AGroupTrainsWhatOneDoes) {
  Task alone = task("alone"), together = task("together");
  // ε far above the gradients' rounding, so that an update is as exact as its gradient.
  for (Task* made : {&alone, &together}) {
    made->fine_tune.recipe.epsilon = 1e-2;
    made->fine_tune.canonical = "test group";
  }
  const Outcome expected = run(alone);
  std::vector<Outcome> outcomes(2);
  std::vector<std::thread> threads;
  std::vector<std::string> failures(2);
  for (size_t rank = 0; rank < 2; ++rank) {
    threads.emplace_back([&, rank] {
      try {
        TaskRunner runner("cpu", 1);
        outcomes[rank] =
            runner.run(together, TaskContext(),
                       {"lora", static_cast<int64_t>(rank), 2, (folder_ / "meeting").string()});
      } catch (const std::exception& error) {
        failures[rank] = error.what();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failures[0] + failures[1], "");
  const Curve &want = expected.fine_tunes.at(0).curve, &got = outcomes[0].fine_tunes.at(0).curve;
  ASSERT_EQ(got.training_loss.size(), want.training_loss.size());
  for (size_t i = 0; i < want.training_loss.size(); ++i) {
    // 96 tokens in another order, six steps upon each other.
    EXPECT_NEAR(got.training_loss[i], want.training_loss[i],
                6 * 96 * 0x1p-24 * want.training_loss[i]);
  }
  EXPECT_NEAR(run(evaluation(together)).cells[0].measures[0].sum_nll,
              run(evaluation(alone)).cells[0].measures[0].sum_nll, 1e-2);
}

TEST_F(LoraFinetune, NeedsTrainedWeights) {
  Task made = task("fresh");
  made.model = make_init_directory(folder_ / "init", true).string();
  made.weights = made.weights_key = "";
  made.fine_tune.recipe.init = (folder_ / "init" / "config.json").string();
  EXPECT_THROW(run(made), Error);
}

}  // namespace
}  // namespace ropesweep::tasks
