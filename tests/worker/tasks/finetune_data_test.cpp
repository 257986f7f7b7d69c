// Fine-tuning on data of all kinds: separate documents, held-out shares, conversations, and the
// caches that they leave.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "experiments/error.h"
#include "tests/worker/tasks/tiny_model.h"
#include "worker/data/training_chunks.h"
#include "worker/tasks/open_corpus.h"

namespace ropesweep::tasks {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class FinetuneData : public testing::Test {
 protected:
  FinetuneData()
      : directory_(make_model_directory(folder_ / "model")),
        training_(write_documents(folder_ / "training.jsonl", {40, 7, 90, 33, 55, 21, 14, 60})) {}

  Task task(const std::string& output) const {
    Task made;
    made.id = "test";
    made.kind = TaskKind::fine_tune;
    made.model = made.weights = made.weights_key = directory_.string();
    made.scheme = "linear";
    made.scale = 2;
    made.output = (folder_ / output).string();
    made.training_data.kind = "text";
    made.training_data.path = training_.string();
    RecipeSettings& recipe = made.fine_tune.recipe;
    recipe.context_length = 24;
    recipe.steps = 3;
    recipe.batch_tokens = 96;
    recipe.learning_rate = 3e-3;
    made.fine_tune.seed = 5;
    return made;
  }
  static FineTuneOutcome run(const Task& made) {
    TaskRunner runner("cpu", 1);
    return runner.run(made, TaskContext()).fine_tunes.at(0);
  }
  static std::string error_of(const Task& made) {
    try {
      run(made);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), FailureKind::user);
      return error.what();
    }
    return "no error";
  }

  TemporaryFolder folder_;
  fs::path directory_, training_;
};

TEST_F(FinetuneData, SeparateDocumentsHaveTheLossesThatTheyHaveAlone) {
  Task made = task("separate");
  made.fine_tune.recipe.packing = made.fine_tune.recipe.separate_documents = true;
  const FineTuneOutcome outcome = run(made);
  const auto backend = backend::make_cpu_backend(1);
  const LoadedModel loaded = load_model(*backend, source_of(made));
  loaded.model->use_positions(make_position_encoding("linear", 2, loaded.model->config().rotary));
  const auto source = data::open_documents(made.training_data, *loaded.tokenizer, 24);
  data::ChunkOptions options{.context_length = 24, .packing = true};
  options.separate_documents = true;
  const data::TrainingChunks chunks(*source, *loaded.tokenizer, options);
  double nll = 0;
  int64_t targets = 0, tokens = 0;
  for (int64_t i = 0; i < 4; ++i) {  // 96 / 24 chunks in the batch
    const int64_t index = chunks.index_at(i, 5);
    std::vector<int32_t> ids(24), wanted(24);
    targets += chunks.chunk(index, ids, wanted);
    tokens += chunks.tokens_of(index);
    size_t first = 0;
    for (const int64_t length : chunks.document_lengths(index)) {
      const auto count = static_cast<size_t>(length);
      const auto losses = loaded.model->token_losses(std::span(ids).subspan(first, count),
                                                     std::span(wanted).subspan(first, count), 1);
      for (const float loss : losses) nll += double{loss};
      first += count;
    }
  }
  EXPECT_NEAR(outcome.curve.training_loss[0], nll / static_cast<double>(targets), 1e-5);
  EXPECT_GE(outcome.tokens, tokens);
  made.scheme = "dynamic-ntk";
  made.output = (folder_ / "dynamic").string();
  EXPECT_THAT(error_of(made), HasSubstr("separate_documents: scheme dynamic-ntk"));
  made.fine_tune.recipe.packing = false;
  EXPECT_THAT(error_of(made), HasSubstr("separate_documents needs packing"));
}

TEST_F(FinetuneData, AShareIsHeldOutAndMeasured) {
  Task made = task("shared");
  made.fine_tune.recipe.validation_share = 0.4;
  made.fine_tune.recipe.validation_documents = 3000;
  const FineTuneOutcome outcome = run(made);
  EXPECT_TRUE(std::isfinite(outcome.validation_loss));
  EXPECT_NE(outcome.validation_loss, outcome.training_loss);
  // One cache serves both sides, and the next run.
  int64_t caches = 0;
  for (const auto& entry : fs::directory_iterator(training_.parent_path())) {
    caches += entry.path().filename().string().starts_with("training.jsonl.tokens-") ? 1 : 0;
  }
  EXPECT_EQ(caches, 1);
  made.output = (folder_ / "again").string();
  EXPECT_EQ(run(made).validation_loss, outcome.validation_loss);
}

TEST_F(FinetuneData, OverlapsAreCountedEachTime) {
  Task made = task("overlap");
  made.fine_tune.recipe.overlap = 0.5;
  made.fine_tune.recipe.minimum_characters = 100;
  EXPECT_GT(run(made).tokens, 0);
  made.fine_tune.recipe.overlap = 1;
  made.output = (folder_ / "wrong").string();
  EXPECT_THAT(error_of(made), HasSubstr("overlap must be from 0 to below 1"));
}

TEST_F(FinetuneData, ConversationsTrainOnTheirAnswers) {
  write_file(folder_ / "talk.json",
             R"([{"conversations": [{"from": "human", "value": "Who are you?"},
      {"from": "gpt", "value": "I am a small model."}]},
      {"instruction": "Say yes.", "input": "", "output": "Yes."}])");
  Task made = task("talk");
  made.training_data.path = (folder_ / "talk.json").string();
  made.fine_tune.recipe.conversations = "vicuna";
  made.fine_tune.recipe.context_length = 256;
  made.fine_tune.recipe.batch_tokens = 512;
  const FineTuneOutcome outcome = run(made);
  EXPECT_LT(outcome.curve.training_loss[2], outcome.curve.training_loss[0]);
  made.fine_tune.recipe.conversations = "chat";
  made.output = (folder_ / "chat").string();
  EXPECT_THAT(error_of(made), HasSubstr("no chat_template"));
  made.fine_tune.recipe.conversations = "poem";
  EXPECT_THAT(error_of(made), HasSubstr("\"poem\" is no template"));
}

TEST_F(FinetuneData, AStoresDirectoryTakesTheCache) {
  fs::create_directories(folder_ / "sweep.d/checkpoints");
  fs::create_directory(training_.string() + ".tokens.lock");  // nothing can be made beside the data
  Task made = task("sweep.d/checkpoints/abc");
  made.fine_tune.id = "abc";
  run(made);
  EXPECT_FALSE(fs::is_empty(folder_ / "sweep.d/tokens"));
}

}  // namespace
}  // namespace ropesweep::tasks
