// Less memory, the same figures: to the bit, but for micro-batches of one chunk.
#include "worker/tasks/thrift.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/worker/tasks/tiny_model.h"

namespace ropesweep::tasks {
namespace {

namespace fs = std::filesystem;

class Thrifty : public testing::Test {
 protected:
  Thrifty()
      : directory_(make_model_directory(folder_ / "model")),
        documents_(write_documents(folder_ / "documents.jsonl", {40, 7, 90, 33, 55, 21, 64, 50})) {}
  ~Thrifty() override { set_thrift(Thrift::none); }

  static Outcome run(const Task& task, Thrift wanted) {
    set_thrift(wanted);
    return TaskRunner("cpu", 1).run(task, TaskContext());
  }

  Task fine_tune(const std::string& output) const {
    Task made;
    made.id = "test";
    made.kind = TaskKind::fine_tune;
    made.model = made.weights = made.weights_key = directory_.string();
    made.scheme = "linear";
    made.scale = 2;
    made.output = (folder_ / output).string();
    made.training_data.kind = "text";
    made.training_data.path = documents_.string();
    RecipeSettings& recipe = made.fine_tune.recipe;
    recipe.context_length = 24;
    recipe.steps = 4;
    recipe.batch_tokens = 24 * 8;
    recipe.learning_rate = 3e-3;
    return made;
  }

  TemporaryFolder folder_;
  fs::path directory_, documents_;
};

TEST_F(Thrifty, RecomputationLeavesTheBitsOfAFineTune) {
  const Outcome plain = run(fine_tune("plain"), Thrift::none);
  const Outcome thrifty = run(fine_tune("thrifty"), Thrift::same_bits);
  EXPECT_EQ(nlohmann::json(plain.fine_tunes.at(0).curve),
            nlohmann::json(thrifty.fine_tunes.at(0).curve));
  EXPECT_EQ(read_file(folder_ / "plain/model.safetensors"),
            read_file(folder_ / "thrifty/model.safetensors"));
}

TEST_F(Thrifty, SmallBatchesLeaveFiguresWithinTheRoundingOfSums) {
  const Outcome plain = run(fine_tune("plain"), Thrift::none);
  const Outcome small = run(fine_tune("small"), Thrift::small_batches);
  const Curve &x = plain.fine_tunes.at(0).curve, &y = small.fine_tunes.at(0).curve;
  ASSERT_EQ(x.training_loss.size(), 4U);
  ASSERT_EQ(y.training_loss.size(), 4U);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_NEAR(x.training_loss[i], y.training_loss[i], 1e-5 * x.training_loss[i]) << i;
    EXPECT_NEAR(x.gradient_norm[i], y.gradient_norm[i], 1e-4 * x.gradient_norm[i]) << i;
  }
}

TEST_F(Thrifty, WindowsOneByOneHaveTheSameBits) {
  for (const char* window : {"sliding", "truncated"}) {
    Task made = evaluation_task(directory_, "text", {20, 32});
    made.dataset.path = documents_.string();
    made.dataset.window = window;
    made.dataset.stride = 5;
    if (std::string(window) == "sliding") made.cells.resize(1);
    const Outcome plain = run(made, Thrift::none), thrifty = run(made, Thrift::same_bits);
    ASSERT_EQ(plain.cells.size(), thrifty.cells.size());
    for (size_t i = 0; i < plain.cells.size(); ++i) {
      EXPECT_EQ(nlohmann::json(plain.cells[i].measures), nlohmann::json(thrifty.cells[i].measures));
      EXPECT_GT(plain.cells[i].measures.at(0).tokens, 0);
    }
  }
}

TEST_F(Thrifty, AnswersOneByOneHaveTheSameBits) {
  Task made = evaluation_task(directory_, "passkey", {400});
  made.dataset.samples = 6;
  made.dataset.max_new_tokens = 8;
  made.dataset.keep_samples = true;
  const Outcome plain = run(made, Thrift::none), thrifty = run(made, Thrift::same_bits);
  ASSERT_EQ(plain.cells.at(0).samples.size(), 6U);
  EXPECT_EQ(nlohmann::json(plain.cells[0].samples), nlohmann::json(thrifty.cells.at(0).samples));
}

}  // namespace
}  // namespace ropesweep::tasks
