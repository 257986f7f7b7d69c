// What goes into a pool comes out of it, and a million tasks that are alike stay small.
#include "experiments/task_pool.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace ropesweep {
namespace {

Cell cell_of(const std::string& id) {
  Cell cell;
  cell.id = id;
  cell.model = "default";
  cell.recipe = "tuned";
  cell.scheme = "yarn";
  cell.dataset = "wiki";
  cell.train_scale = 4;
  cell.eval_scale = 0.1;
  cell.context_length = 4096;
  cell.seed = -3;
  cell.fine_tune = "f";
  cell.canonical =
      R"({"context_length":4096,"data":{"digest":"d","kind":"text"},"id":")" + id + "\"}";
  return cell;
}

Task evaluation_of(const std::string& id) {
  Task task;
  task.id = id;
  task.model = "/models/base";
  task.weights = "/sweeps/s.d/checkpoints/f";
  task.weights_key = "f";
  task.needs = {"f"};
  task.output = "/sweeps/s.d/evaluations/" + id + ".jsonl";
  task.scheme = "yarn";
  task.scale = 4;
  task.cells = {cell_of(id + "a"), cell_of(id + "b")};
  task.dataset.name = "wiki";
  task.dataset.samples = 7;
  task.workers.type = "bf16";
  task.seed = 5;
  task.flops = 1.5e12;
  task.memory_bytes = 3e9;
  return task;
}

Task fine_tune_of(const std::string& id) {
  Task task;
  task.id = id;
  task.kind = TaskKind::fine_tune;
  task.fine_tune.id = id;
  task.fine_tune.recipe.steps = 400;
  task.fine_tune.compared_with = {"g", "h"};
  task.training_data.kind = "text";
  task.output = "/sweeps/s.d/checkpoints/" + id;
  task.weights_key = "init-" + id;
  task.flops = 1e15;
  return task;
}

TEST(TaskPool, GivesBackWhatItWasGiven) {
  std::vector<Task> tasks = {fine_tune_of("f"), evaluation_of("e1"), evaluation_of("e2"), Task{}};
  tasks[2].dataset.samples = 8;
  tasks[2].output.clear();
  tasks[2].weights = "elsewhere";
  tasks[2].cells[0].canonical = ",a,,b,";
  tasks[2].cells[1].canonical.clear();
  const TaskPool pool(tasks);
  ASSERT_EQ(pool.size(), tasks.size());
  for (size_t i = 0; i < tasks.size(); ++i) {
    EXPECT_EQ(nlohmann::json(pool[i]), nlohmann::json(tasks[i])) << i;
    EXPECT_EQ(pool.id(i), tasks[i].id);
    EXPECT_EQ(pool.kind(i), tasks[i].kind);
    EXPECT_EQ(pool.flops(i), tasks[i].flops);
    EXPECT_EQ(pool.common(i).dataset.samples, tasks[i].dataset.samples);
  }
  EXPECT_TRUE(TaskPool().empty());
}

TEST(TaskPool, ReplacesOneAndLeavesItsLikesAlone) {
  TaskPool pool({evaluation_of("e1"), evaluation_of("e2")});
  Task changed = pool[0];
  changed.workers.gpus_per_task = 4;
  pool.replace(0, changed);
  EXPECT_EQ(pool[0].workers.gpus_per_task, 4);
  EXPECT_EQ(pool[0].cells.size(), 2U);
  EXPECT_EQ(pool[1].workers.gpus_per_task, 1);
  EXPECT_THROW(pool[2], std::out_of_range);
}

TEST(TaskPool, KeepsWhatIsAlikeOnceOverManyBlocks) {
  TaskPool pool;
  for (int i = 0; i < 20000; ++i) pool.add(evaluation_of("e" + std::to_string(i)));
  EXPECT_EQ(&pool.common(0), &pool.common(19999));
  EXPECT_EQ(nlohmann::json(pool[12345]), nlohmann::json(evaluation_of("e12345")));
}

}  // namespace
}  // namespace ropesweep
