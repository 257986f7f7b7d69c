// Fine-tuning: what a step's loss is, resuming to the bit after a stop, a kill or half a save,
// divergence.
#include "worker/tasks/finetune.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <csignal>
#include <cstdlib>

#include "tests/worker/tasks/tiny_model.h"
#include "worker/data/training_chunks.h"
#include "worker/tasks/loss_record.h"

namespace ropesweep::tasks {
namespace {

namespace fs = std::filesystem;

class Finetune : public testing::Test {
 protected:
  Finetune()
      : directory_(make_model_directory(folder_ / "model")),
        training_(write_documents(folder_ / "training.jsonl", {40, 7, 90, 33, 55, 21})),
        validation_(write_documents(folder_ / "validation.jsonl", {30, 25})) {}

  Task task(const std::string& output) const {
    Task made;
    made.id = "test";
    made.kind = TaskKind::fine_tune;
    made.model = made.weights = made.weights_key = directory_.string();
    made.scheme = "linear";
    made.scale = 2;
    made.output = (folder_ / output).string();
    made.training_data.kind = made.validation_data.kind = "text";
    made.training_data.path = training_.string();
    made.validation_data.path = validation_.string();
    RecipeSettings& recipe = made.fine_tune.recipe;
    recipe.context_length = 24;
    recipe.steps = 6;
    recipe.batch_tokens = 96;
    recipe.learning_rate = 3e-3;
    recipe.warmup_steps = 2;
    recipe.schedule = "cosine";
    recipe.weight_decay = 0.1;
    recipe.validate_every = 3;
    recipe.save_every = 2;
    made.fine_tune.seed = 5;
    return made;
  }

  static Outcome run(const Task& made, int threads = 1) {
    TaskRunner runner("cpu", threads);
    return runner.run(made, TaskContext());
  }

  /// Stops once the progress line says `step`: its last micro-batch is done by then if it is the
  /// first.
  static void run_until(const Task& made, int64_t step) {
    std::atomic<bool> stop = false;
    TaskContext context;
    context.stop = &stop;
    const std::string mark = "step " + std::to_string(step) + " of";
    context.progress = [&](double, const std::string& what) {
      stop = stop || what.starts_with(mark);
    };
    TaskRunner runner("cpu", 1);
    try {
      runner.run(made, context);
      FAIL() << "it was not stopped";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), FailureKind::time);
    }
  }

  static void expect_same(const Outcome& a, const Task& task_a, const Outcome& b,
                          const Task& task_b) {
    const FineTuneOutcome &x = a.fine_tunes.at(0), &y = b.fine_tunes.at(0);
    EXPECT_EQ(nlohmann::json(x.curve), nlohmann::json(y.curve));
    // JSON has all digits; a loss that was not measured is null.
    EXPECT_EQ(nlohmann::json(x)["training_loss"], nlohmann::json(y)["training_loss"]);
    EXPECT_EQ(nlohmann::json(x)["validation_loss"], nlohmann::json(y)["validation_loss"]);
    EXPECT_EQ(x.tokens, y.tokens);
    const auto weights = [](const Task& made) {
      return read_file(fs::path(made.output) / "model.safetensors");
    };
    EXPECT_FALSE(weights(task_a).empty());
    EXPECT_EQ(weights(task_a), weights(task_b));
  }

  TemporaryFolder folder_;
  fs::path directory_, training_, validation_;
};

TEST_F(Finetune, TheFirstLossIsTheMeanOverTheBatchsTargets) {
  const Task made = task("out");
  const Outcome outcome = run(made);
  const auto backend = backend::make_cpu_backend(1);
  const LoadedModel loaded = load_model(*backend, source_of(made));
  loaded.model->use_positions(make_position_encoding("linear", 2, loaded.model->config().rotary));
  const auto source = data::open_documents(made.training_data, *loaded.tokenizer, 24);
  const data::TrainingChunks chunks(*source, *loaded.tokenizer, {24, false, false, false, 0});
  double nll = 0;
  int64_t targets = 0;
  for (int64_t i = 0; i < 4; ++i) {  // one by one, with 96 / 24 chunks in the batch
    std::vector<int32_t> ids(24), wanted(24);
    targets += chunks.fill(i, 5, ids, wanted);
    for (const float loss : loaded.model->token_losses(ids, wanted, 1)) nll += double{loss};
  }
  const Curve& curve = outcome.fine_tunes[0].curve;
  EXPECT_NEAR(curve.training_loss[0], nll / static_cast<double>(targets), 1e-5);
  EXPECT_DOUBLE_EQ(curve.learning_rate[0], 1.5e-3);
  EXPECT_DOUBLE_EQ(curve.learning_rate[1], 3e-3);
  EXPECT_TRUE(std::isnan(curve.validation_loss[0]));
  EXPECT_TRUE(std::isfinite(curve.validation_loss[2]));
  EXPECT_TRUE(std::isfinite(curve.validation_loss[5]));
  EXPECT_LT(outcome.fine_tunes[0].training_loss, curve.training_loss[0]);
}

TEST_F(Finetune, LeavesACheckpointThatCarriesItsScheme) {
  const Task made = task("out");
  const Outcome outcome = run(made);
  EXPECT_EQ(outcome.failure_kind, FailureKind::none);
  EXPECT_EQ(outcome.fine_tunes[0].steps, 6);
  const llama::Config config = llama::read_config(made.output);
  EXPECT_EQ(config.own_scheme, "linear");
  EXPECT_EQ(config.own_scale, 2);
  EXPECT_TRUE(fs::exists(fs::path(made.output) / "tokenizer.json"));
  const auto records = read_loss_records(fs::path(made.output) / "losses.jsonl");
  FineTuneOutcome by_records;
  add_steps(by_records, records);
  EXPECT_EQ(nlohmann::json(by_records.curve), nlohmann::json(outcome.fine_tunes[0].curve));
}

TEST_F(Finetune, StoppedAnywhereItGoesOnToTheBit) {
  const Task straight = task("straight");
  const Outcome expected = run(straight);
  for (const int64_t step : {1, 3, 5}) {
    const Task made = task("stopped-" + std::to_string(step));
    run_until(made, step);
    expect_same(run(made), made, expected, straight);
  }
}

// Annealing by the step, positions drawn by the sequence, weights that the scheme brings.
TEST_F(Finetune, SchemesThatDoMoreThanRotateGoOnToTheBitToo) {
  for (const char* scheme : {"xpos(B=64, anneal=100)", "pose", "random", "t5(buckets=8)", "learned",
                             "dca", "streaming(first=2, window=8)"}) {
    Task straight = task("straight");
    straight.scheme = scheme;
    const Outcome expected = run(straight);
    ASSERT_EQ(expected.failure_kind, FailureKind::none) << scheme;
    Task made = straight;
    made.output = (folder_ / "stopped").string();
    run_until(made, 3);
    expect_same(run(made), made, expected, straight);
    EXPECT_EQ(llama::read_config(made.output).own_scheme, canonical_scheme(scheme));
    // Its cells read the checkpoint under the same scheme.
    Task evaluation = evaluation_task(made.model, "text", {16});
    evaluation.weights = evaluation.weights_key = made.output;
    evaluation.dataset.path = validation_.string();
    evaluation.scheme = scheme;
    evaluation.scale = 2;
    EXPECT_EQ(TaskRunner("cpu", 1).run(evaluation, TaskContext()).cells.size(), 1u) << scheme;
    fs::remove_all(straight.output);
    fs::remove_all(made.output);
  }
}

TEST_F(Finetune, PositionsOfTrainingChangeTheTraining) {
  const auto curve_of_scheme = [&](const char* scheme) {
    Task made = task(std::string("out ") + scheme);
    made.scheme = scheme;
    return run(made).fine_tunes.at(0).curve.training_loss;
  };
  EXPECT_NE(curve_of_scheme("pose"), curve_of_scheme("linear"));
  EXPECT_NE(curve_of_scheme("random"), curve_of_scheme("none"));
  EXPECT_NE(curve_of_scheme("xpos(B=64, anneal=100)"), curve_of_scheme("xpos(B=64)"));
}

TEST_F(Finetune, WeightsThatLearnedNoPositionsAreRefusedForThem) {
  Task evaluation = evaluation_task(directory_, "text", {16});
  evaluation.dataset.path = validation_.string();
  evaluation.scheme = "t5";
  try {
    TaskRunner("cpu", 1).run(evaluation, TaskContext());
    FAIL() << "it ran";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), FailureKind::user);
    EXPECT_NE(std::string(error.what()).find("have not learned the positions of scheme t5"),
              std::string::npos)
        << error.what();
  }
}

TEST_F(Finetune, AStopBetweenMicroBatchesLosesNoStep) {
  Task straight = task("straight");
  straight.fine_tune.recipe.context_length = 64;
  straight.fine_tune.recipe.batch_tokens = 64 * 66;  // micro-batches of 64 chunks and of 2
  straight.fine_tune.recipe.steps = 2;
  const Outcome expected = run(straight);
  Task made = straight;
  made.output = (folder_ / "stopped").string();
  run_until(made, 2);
  EXPECT_TRUE(fs::exists(fs::path(made.output) / "state/step-1"));
  expect_same(run(made), made, expected, straight);
}

TEST_F(Finetune, ADiskThatFailsUnderASaveDoesNotEndTheTraining) {
  Task undisturbed = task("undisturbed"), disturbed = task("disturbed");
  undisturbed.fine_tune.id = disturbed.fine_tune.id = "of-a-sweep";  // whose states go at the end
  fs::create_directories(disturbed.output);
  write_file(fs::path(disturbed.output) / "state", "a file where the directory is to be");
  expect_same(run(undisturbed), undisturbed, run(disturbed), disturbed);
}

TEST_F(Finetune, AStopThatCannotSaveSaysSo) {
  Task made = task("out");
  made.fine_tune.recipe.save_every = 0;
  fs::create_directories(made.output);
  write_file(fs::path(made.output) / "state", "a file where the directory is to be");
  std::atomic<bool> stop = false;
  TaskContext context;
  context.stop = &stop;
  context.progress = [&](double, const std::string& what) {
    stop = stop || what.starts_with("step 3 of");
  };
  TaskRunner runner("cpu", 1);
  try {
    runner.run(made, context);
    FAIL() << "it was not stopped";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), FailureKind::transient);
    EXPECT_NE(std::string(error.what()).find("state"), std::string::npos) << error.what();
  }
}

TEST_F(Finetune, HalfASaveAndLinesPastTheStateAreCutOff) {
  const Task straight = task("straight");
  const Outcome expected = run(straight);
  const Task made = task("killed");
  run_until(made, 4);
  const fs::path output = made.output;
  ASSERT_TRUE(fs::exists(output / "state/step-4"));
  fs::create_directories(output / "state/step-5.partial");  // killed in the middle of a save …
  write_file(output / "state/step-5.partial/optimizer.safetensors", "torn");
  std::ofstream(output / "losses.jsonl", std::ios::app)
      << "{\"step\":5,\"training";  // … and of a line
  expect_same(run(made), made, expected, straight);
  EXPECT_FALSE(fs::exists(output / "state/step-5.partial"));
}

TEST_F(Finetune, KilledAtRandomMomentsItGoesOnToTheBit) {
  Task straight = task("straight");
  straight.fine_tune.recipe.save_every = 1;
  const Outcome expected = run(straight);
  Task made = straight;
  made.output = (folder_ / "killed").string();
  for (const useconds_t microseconds : {3000u, 15000u, 40000u, 70000u}) {
    const pid_t child = fork();
    if (child == 0) {
      run(made);
      _exit(0);
    }
    usleep(microseconds);
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
  }
  expect_same(run(made), made, expected, straight);
}

TEST_F(Finetune, AFinishedCheckpointIsReportedAgain) {
  const Task made = task("out");
  const Outcome first = run(made);
  const fs::path weights = fs::path(made.output) / "model.safetensors";
  const auto written = fs::last_write_time(weights);
  expect_same(run(made), made, first, made);
  EXPECT_EQ(fs::last_write_time(weights), written);
}

TEST_F(Finetune, AKeptStateIsTrainedFurther) {
  Task longer = task("longer");
  longer.fine_tune.recipe.schedule = "constant";
  longer.fine_tune.recipe.validate_every = 0;
  longer.validation_data.kind.clear();
  const Outcome expected = run(longer);
  Task made = longer;
  made.output = (folder_ / "out").string();
  made.fine_tune.recipe.steps = 4;
  run(made);
  made.fine_tune.recipe.steps = 6;
  expect_same(run(made), made, expected, longer);
  made.fine_tune.recipe.steps = 2;
  EXPECT_THROW(run(made), Error);
}

TEST_F(Finetune, FiguresDependNeitherOnThreadsNorOnSaving) {
  const Task one = task("one");
  Task two = task("two");
  two.fine_tune.recipe.save_every = 0;
  expect_same(run(one, 1), one, run(two, 2), two);
}

TEST_F(Finetune, OtherSettingsInTheSameDirectoryAreRefused) {
  Task made = task("out");
  run_until(made, 3);
  made.fine_tune.recipe.learning_rate = 1e-3;
  EXPECT_THROW(run(made), Error);
}

TEST_F(Finetune, DivergenceIsAResult) {
  Task made = task("bound");
  made.fine_tune.recipe.stop_if_loss_above = 0.5;
  made.fine_tune.recipe.stop_if_after = 2;
  const Outcome bounded = run(made);
  EXPECT_EQ(bounded.failure_kind, FailureKind::diverged);
  EXPECT_EQ(bounded.fine_tunes.at(0).curve.step.size(), 3u);
  EXPECT_TRUE(bounded.fine_tunes[0].checkpoint.empty());
  EXPECT_FALSE(fs::exists(fs::path(made.output) / "config.json"));

  Task wild = task("wild");
  wild.fine_tune.recipe.learning_rate = 1e30;
  wild.fine_tune.recipe.warmup_steps = 0;
  const Outcome exploded = run(wild);
  EXPECT_EQ(exploded.failure_kind, FailureKind::diverged);
  EXPECT_NE(exploded.failure.find("step"), std::string::npos);
  EXPECT_LT(exploded.fine_tunes.at(0).curve.step.size(), 6u);
}

TEST_F(Finetune, StartsFromFreshWeightsOfTheSeed) {
  Task made = task("fresh");
  made.model = make_init_directory(folder_ / "init", true).string();
  made.weights = made.weights_key = "";
  made.fine_tune.recipe.init = (folder_ / "init" / "config.json").string();
  made.scheme = "none";
  made.scale = 1;
  const Outcome first = run(made);
  EXPECT_EQ(first.failure_kind, FailureKind::none);
  Task other = made;
  other.output = (folder_ / "other").string();
  other.fine_tune.seed = 6;
  EXPECT_NE(run(other).fine_tunes[0].curve.training_loss, first.fine_tunes[0].curve.training_loss);
  // Its child and its cells know the checkpoint's directory only.
  Task evaluation = evaluation_task(made.output, "text", {16});
  evaluation.model = (folder_ / "nowhere").string();
  evaluation.dataset.path = validation_.string();
  TaskRunner runner("cpu", 1);
  EXPECT_EQ(runner.run(evaluation, TaskContext()).cells.size(), 1u);
}

TEST_F(Finetune, BadRecipesAreUserErrors) {
  const auto refused = [&](const std::function<void(Task&)>& spoil) {
    Task made = task("bad");
    spoil(made);
    try {
      run(made);
    } catch (const Error& error) {
      return error.kind() == FailureKind::user;
    }
    return false;
  };
  EXPECT_TRUE(refused([](Task& t) { t.fine_tune.recipe.context_length = 1; }));
  EXPECT_TRUE(refused([](Task& t) { t.fine_tune.recipe.steps = 0; }));
  EXPECT_TRUE(refused([](Task& t) { t.fine_tune.recipe.batch_tokens = 23; }));
  EXPECT_TRUE(refused([](Task& t) { t.fine_tune.recipe.learning_rate = 0; }));
  EXPECT_TRUE(refused([](Task& t) { t.fine_tune.recipe.lora.rank = -1; }));
  EXPECT_TRUE(refused([](Task& t) { t.fine_tune.recipe.lora = {.rank = 4, .dropout = 1}; }));
  EXPECT_TRUE(refused([](Task& t) { t.fine_tune.recipe.lora = {.rank = 4, .targets = {"w"}}; }));
  EXPECT_TRUE(refused([](Task& t) { t.training_data.path = "/nowhere.jsonl"; }));
  EXPECT_TRUE(refused([](Task& t) { t.weights = "/nowhere"; }));
  EXPECT_TRUE(refused([](Task& t) { t.scheme = "yarm"; }));
}

TEST(LossRecord, RoundsTripToTheBit) {
  TemporaryFolder folder;
  StepRecord record{3, 1.0 / 3, std::nan(""), 0.1, std::nan(""), 96, 0.25};
  StepRecord measured{4, 2.0 / 3, 7e-310, 0.1, 1e300, 96, 0.25};
  write_file(folder / "losses.jsonl", to_json_line(record) + "\n" + to_json_line(measured) + "\n");
  const auto back = read_loss_records(folder / "losses.jsonl");
  ASSERT_EQ(back.size(), 2u);
  EXPECT_EQ(back[0].training_loss, record.training_loss);
  EXPECT_TRUE(std::isnan(back[0].validation_loss));
  EXPECT_TRUE(std::isnan(back[0].gradient_norm));
  EXPECT_EQ(back[1].validation_loss, measured.validation_loss);
  write_file(folder / "bad.jsonl", to_json_line(record) + "\n{\"step\":\n");
  try {
    read_loss_records(folder / "bad.jsonl");
    FAIL() << "it was read";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("bad.jsonl:2"), std::string::npos) << error.what();
  }
}

TEST_F(Finetune, TellsItsStepsAsTheyEndAndThoseOfASavedStateFirst) {
  const Task made = task("out");
  run_until(made, 4);
  std::vector<std::vector<int64_t>> told;
  FineTuneOutcome so_far;
  TaskContext context;
  context.losses = [&](std::span<const StepRecord> steps) {
    told.emplace_back();
    for (const StepRecord& record : steps) told.back().push_back(record.step);
    add_steps(so_far, steps);
  };
  TaskRunner runner("cpu", 1);
  const Outcome outcome = runner.run(made, context);
  EXPECT_EQ(told, (std::vector<std::vector<int64_t>>{{1, 2, 3, 4}, {5}, {6}}));
  so_far.checkpoint = outcome.fine_tunes[0].checkpoint;
  so_far.digests = outcome.fine_tunes[0].digests;
  EXPECT_EQ(nlohmann::json(so_far), nlohmann::json(outcome.fine_tunes[0]));
}

TEST_F(Finetune, WhatIsWorseThanItsSiblingsIsAbandonedAtTheSameStepAfterAStop) {
  Task made = task("whole");
  made.fine_tune.recipe.stop_if_above_median_of = 2;
  const double first = run(task("free")).fine_tunes[0].curve.training_loss[0];
  made.sibling_medians = {first, first, first, 0.01, 0.01, 0.01};
  const Outcome whole = run(made);
  EXPECT_EQ(whole.failure_kind, FailureKind::diverged);
  EXPECT_TRUE(whole.failure.starts_with("abandoned at step 4")) << whole.failure;
  EXPECT_EQ(whole.fine_tunes.at(0).curve.step.size(), 4u);
  Task stopped = made;
  stopped.output = (folder_ / "stopped").string();
  run_until(stopped, 3);
  EXPECT_EQ(nlohmann::json(run(stopped).fine_tunes), nlohmann::json(whole.fine_tunes));
}

}  // namespace
}  // namespace ropesweep::tasks
