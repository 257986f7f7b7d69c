// The runner's own part: devices, kinds, and models that stay loaded.
#include "worker/tasks/task_runner.h"

#include <gtest/gtest.h>

#include "tests/user_error.h"
#include "tests/worker/tasks/tiny_model.h"

namespace ropesweep::tasks {
namespace {

TEST(TaskRunner, DevicesThatAreNotThereAreUserErrors) {
  EXPECT_NE(user_error_of([] { TaskRunner("cuda", 1); }).find("no CUDA"), std::string::npos);
  EXPECT_NE(user_error_of([] { TaskRunner("cuda:1", 1); }).find("no CUDA"), std::string::npos);
  EXPECT_NE(user_error_of([] { TaskRunner("tpu", 1); }).find("unknown"), std::string::npos);
  TaskRunner runner("auto", 1);
}

TEST(TaskRunner, UnknownKindsAndTypesAreUserErrors) {
  TemporaryFolder folder;
  const auto directory = make_model_directory(folder / "model");
  TaskRunner runner("cpu", 1);
  Task task = evaluation_task(directory, "riddles", {16});
  EXPECT_NE(user_error_of([&] { runner.run(task, TaskContext()); }).find("riddles"),
            std::string::npos);
  task.workers.type = "f64";
  EXPECT_NE(user_error_of([&] { runner.run(task, TaskContext()); }).find("f64"), std::string::npos);
  task.cells.clear();
  EXPECT_NE(user_error_of([&] { runner.run(task, TaskContext()); }).find("cells"),
            std::string::npos);
}

TEST(TaskRunner, KeepsModelsByKeyAndType) {
  TemporaryFolder folder;
  const auto directory = make_model_directory(folder / "model");
  Task task = evaluation_task(directory, "text", {16});
  task.dataset.path = write_documents(folder / "documents.jsonl", {40}).string();
  TaskRunner runner("cpu", 1);
  const Outcome first = runner.run(task, TaskContext());
  EXPECT_EQ(first.type, "f32");
  EXPECT_NE(first.device.find("cpu"), std::string::npos);
  // Without its files the model can only come from memory.
  std::filesystem::remove(directory / "model.safetensors");
  const Outcome again = runner.run(task, TaskContext());
  EXPECT_EQ(nlohmann::json(again.cells[0].measures), nlohmann::json(first.cells[0].measures));
  task.workers.type = "bf16";
  EXPECT_NE(user_error_of([&] { runner.run(task, TaskContext()); }), "");
}

TEST(ModelCache, DropsTheLeastRecentlyUsed) {
  TemporaryFolder folder;
  const auto directory = make_model_directory(folder / "model");
  const auto backend = backend::make_cpu_backend(1);
  ModelCache cache(*backend);
  const ModelSource source{directory, directory, directory, "", 0};
  for (const std::string key : {"a", "b", "c", "d"}) cache.get(key, source);
  cache.get("a", source);
  cache.get("e", source);
  EXPECT_TRUE(cache.holds("a"));
  EXPECT_FALSE(cache.holds("b"));
  EXPECT_TRUE(cache.holds("e"));
}

TEST(SourceOf, PrefersTheBaseModelAndFallsBackToTheWeights) {
  TemporaryFolder folder;
  const auto base = make_init_directory(folder / "base", true);
  Task task;
  task.model = base.string();
  task.weights = (folder / "weights").string();
  EXPECT_EQ(source_of(task).config, base);
  EXPECT_EQ(source_of(task).tokenizer, base);
  task.model = (folder / "nowhere").string();
  EXPECT_EQ(source_of(task).config, task.weights);
  task.weights.clear();
  EXPECT_NE(user_error_of([&] { source_of(task); }), "");
  task.fine_tune.recipe.init = (base / "config.json").string();
  EXPECT_EQ(source_of(task).config, base / "config.json");
  EXPECT_EQ(source_of(task).tokenizer, base);
}

}  // namespace
}  // namespace ropesweep::tasks
