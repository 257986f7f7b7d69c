// Sums of accuracy, and samples that are generated, scored and kept.
#include "worker/tasks/retrieval.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/worker/tasks/tiny_model.h"
#include "worker/tasks/scoring.h"

namespace ropesweep::tasks {
namespace {

TEST(AccuracyTotals, CountByLocationAndQuestion) {
  DatasetSettings settings;
  settings.kind = "wikiqa";
  AccuracyTotals totals(settings);
  const SampleRecord record = totals.add({0, "", "19", "start", "end"}, "1987", 2);
  EXPECT_TRUE(record.hit);
  EXPECT_FALSE(record.second_hit) << "no whole word";
  EXPECT_EQ(record.tokens, 2);
  EXPECT_EQ(record.location, "start");
  EXPECT_EQ(record.text, "");
  EXPECT_TRUE(totals.add({1, "", "19", "start", "start"}, "19", 3).second_hit);
  EXPECT_FALSE(totals.add({2, "", "19", "end", "end"}, "20", 4).hit);
  std::map<std::string, Measure> by_name;
  const auto measures = totals.measures();
  EXPECT_EQ(measures.front().metric, "accuracy");
  for (const Measure& measure : measures) by_name[measure.metric] = measure;
  ASSERT_EQ(by_name.size(), 9u);
  EXPECT_EQ(by_name["accuracy"].hits, 2);
  EXPECT_EQ(by_name["accuracy"].count, 3);
  EXPECT_EQ(by_name["accuracy"].tokens, 9);
  EXPECT_EQ(by_name["accuracy_word_boundary"].hits, 1);
  EXPECT_EQ(by_name["accuracy@start"].hits, 2);
  EXPECT_EQ(by_name["accuracy@end"].count, 1);
  EXPECT_EQ(by_name["accuracy@question-end"].count, 2);
  EXPECT_EQ(by_name["accuracy@question-start"].hits, 1);
  EXPECT_EQ(by_name["accuracy@start+question-end"].hits, 1);
  EXPECT_EQ(by_name["accuracy@start+question-start"].count, 1);
  EXPECT_EQ(by_name["accuracy@end+question-end"].hits, 0);
}

TEST(AccuracyTotals, PasskeysFormAGridOfDepths) {
  DatasetSettings settings;
  settings.kind = "passkey";
  AccuracyTotals totals(settings);
  totals.add({0, "", "12345", "0.05", ""}, " 12345.", 4);
  totals.add({1, "", "54321", "0.07", ""}, " 5432", 4);
  totals.add({2, "", "54321", "0.95", ""}, " 54321", 4);
  std::map<std::string, Measure> by_name;
  for (const Measure& measure : totals.measures()) by_name[measure.metric] = measure;
  ASSERT_EQ(by_name.size(), 3u);
  EXPECT_EQ(metric_value(by_name["accuracy@0.0"]), 0.5);
  EXPECT_EQ(metric_value(by_name["accuracy@0.9"]), 1);
}

class Retrieval : public testing::TestWithParam<const char*> {};

TEST_P(Retrieval, BuiltSamplesAreGeneratedAndKept) {
  TemporaryFolder folder;
  const auto directory = make_model_directory(folder / "model");
  Task task = evaluation_task(directory, GetParam(), {400, 500});
  task.dataset.samples = 2;
  task.dataset.max_new_tokens = 6;
  task.dataset.keep_samples = true;
  TaskRunner runner("cpu", 1);
  const Outcome outcome = runner.run(task, TaskContext());
  ASSERT_EQ(outcome.cells.size(), 2u);
  for (const CellOutcome& cell : outcome.cells) {
    EXPECT_EQ(cell.measures[0].metric, "accuracy");
    EXPECT_EQ(cell.measures[0].count, 2);
    ASSERT_EQ(cell.samples.size(), 2u);
    int64_t hits = 0;
    for (const SampleRecord& sample : cell.samples) {
      EXPECT_EQ(sample.hit, score_text(task.dataset, sample.text, sample.reference).hit);
      hits += sample.hit ? 1 : 0;
    }
    EXPECT_EQ(cell.measures[0].hits, hits);
  }
  Task records = task;
  records.dataset.keep_samples = false;
  const Outcome silent = runner.run(records, TaskContext());
  for (size_t cell = 0; cell < 2; ++cell) {
    ASSERT_EQ(silent.cells[cell].samples.size(), 2u);
    for (size_t i = 0; i < 2; ++i) {
      SampleRecord kept = outcome.cells[cell].samples[i];
      kept.text = kept.reference = "";
      EXPECT_EQ(nlohmann::json(silent.cells[cell].samples[i]), nlohmann::json(kept));
    }
  }
  // A cell alone has the same figures.
  Task alone = task;
  alone.cells = {task.cells[1]};
  EXPECT_EQ(nlohmann::json(runner.run(alone, TaskContext()).cells[0].samples),
            nlohmann::json(outcome.cells[1].samples));
  task.dataset.which = "middle";
  EXPECT_THROW(runner.run(task, TaskContext()), Error);
}

INSTANTIATE_TEST_SUITE_P(Kinds, Retrieval, testing::Values("lines", "passkey", "wikiqa"));

}  // namespace
}  // namespace ropesweep::tasks
