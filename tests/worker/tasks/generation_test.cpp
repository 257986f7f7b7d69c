// Greedy generation against repeated whole passes, where it ends, and the sums of accuracy.
#include "worker/tasks/generation.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tests/worker/tasks/tiny_model.h"
#include "worker/tasks/scoring.h"

namespace ropesweep::tasks {
namespace {

class Generation : public testing::Test {
 protected:
  Generation()
      : directory_(make_model_directory(folder_ / "model")),
        backend_(backend::make_cpu_backend(1)),
        loaded_(load_model(*backend_, {directory_, directory_, directory_, "f32", 0})) {
    use("none", 1);
  }

  void use(const std::string& scheme, double scale) {
    loaded_.model->use_positions(
        make_position_encoding(scheme, scale, loaded_.model->config().rotary));
  }

  /// The definition: a whole pass for each token.
  std::vector<int32_t> naive(std::vector<int32_t> ids, int64_t new_tokens) {
    const auto vocabulary = loaded_.model->config().vocabulary;
    std::vector<int32_t> generated;
    while (static_cast<int64_t>(generated.size()) < new_tokens) {
      const auto logits = loaded_.model->logits(ids, 1);
      const auto last = logits.end() - vocabulary;
      const auto best = static_cast<int32_t>(std::max_element(last, logits.end()) - last);
      if (best == loaded_.tokenizer->eos_id()) break;
      generated.push_back(best);
      ids.push_back(best);
    }
    return generated;
  }

  TestFolder folder_;
  std::filesystem::path directory_;
  std::unique_ptr<backend::Backend> backend_;
  LoadedModel loaded_;
};

TEST_F(Generation, IsRepeatedArgmax) {
  for (const std::string scheme : {"none", "yarn"}) {
    use(scheme, scheme == "none" ? 1 : 4);
    for (uint64_t seed = 0; seed < 4; ++seed) {
      const auto prompt = loaded_.tokenizer->encode(words(20, seed));
      const Generated generated =
          generate(*loaded_.model, *loaded_.tokenizer, prompt, 24, {}, TaskContext());
      EXPECT_EQ(generated.ids, naive(prompt, 24));
      EXPECT_EQ(generated.text, loaded_.tokenizer->decode(generated.ids));
    }
  }
}

TEST_F(Generation, DynamicPositionsUpToTheOriginalLengthAreTheBaseOnes) {
  const auto prompt = loaded_.tokenizer->encode(words(4, 1));
  ASSERT_LT(prompt.size() + 4, 32u);
  const auto base = generate(*loaded_.model, *loaded_.tokenizer, prompt, 4, {}, TaskContext());
  use("dynamic-ntk", 4);
  const auto dynamic = generate(*loaded_.model, *loaded_.tokenizer, prompt, 4, {}, TaskContext());
  EXPECT_EQ(base.ids, dynamic.ids);
}

TEST_F(Generation, EndsWhereItIsDecided) {
  const auto prompt = loaded_.tokenizer->encode(words(20, 0));
  const auto whole = generate(*loaded_.model, *loaded_.tokenizer, prompt, 12, {}, TaskContext());
  ASSERT_EQ(whole.ids.size(), 12u);
  int calls = 0;
  const auto cut = generate(
      *loaded_.model, *loaded_.tokenizer, prompt, 12,
      [&](const std::string&) { return ++calls == 5; }, TaskContext());
  EXPECT_EQ(cut.ids, std::vector<int32_t>(whole.ids.begin(), whole.ids.begin() + 5));
}

TEST_F(Generation, BadPromptsAreUserErrors) {
  const auto run = [&](const std::vector<int32_t>& prompt) {
    generate(*loaded_.model, *loaded_.tokenizer, prompt, 4, {}, TaskContext());
  };
  EXPECT_THROW(run({}), Error);
  EXPECT_THROW(run({5, 1024}), Error);
  EXPECT_THROW(run({-1}), Error);
}

TEST_F(Generation, PromptsBeginAsTheSettingsSay) {
  DatasetSettings settings;
  const auto with_bos = encode_prompt(*loaded_.tokenizer, settings, "the river");
  ASSERT_FALSE(with_bos.empty());
  EXPECT_EQ(with_bos.front(), loaded_.tokenizer->bos_id());
  settings.bos = "yes";
  EXPECT_EQ(encode_prompt(*loaded_.tokenizer, settings, "the river"), with_bos);
  settings.bos = "no";
  EXPECT_EQ(encode_prompt(*loaded_.tokenizer, settings, "the river"),
            std::vector<int32_t>(with_bos.begin() + 1, with_bos.end()));
  settings.instruction_template = true;  // the tiny tokenizer has none
  EXPECT_THROW(encode_prompt(*loaded_.tokenizer, settings, "the river"), Error);
}

TEST(AccuracyTotals, CountByLocationAndQuestion) {
  DatasetSettings settings;
  settings.kind = "wikiqa";
  AccuracyTotals totals(settings);
  EXPECT_TRUE(totals.add({0, "", "19", "start", "end"}, "1987", 2));
  EXPECT_TRUE(totals.add({1, "", "19", "start", "start"}, "19", 3));
  EXPECT_FALSE(totals.add({2, "", "19", "end", "end"}, "20", 4));
  std::map<std::string, Measure> by_name;
  const auto measures = totals.measures();
  EXPECT_EQ(measures.front().metric, "accuracy");
  for (const Measure& measure : measures) by_name[measure.metric] = measure;
  ASSERT_EQ(by_name.size(), 6u);
  EXPECT_EQ(by_name["accuracy"].hits, 2);
  EXPECT_EQ(by_name["accuracy"].count, 3);
  EXPECT_EQ(by_name["accuracy"].tokens, 9);
  EXPECT_EQ(by_name["accuracy_word_boundary"].hits, 1);
  EXPECT_EQ(by_name["accuracy@start"].hits, 2);
  EXPECT_EQ(by_name["accuracy@end"].count, 1);
  EXPECT_EQ(by_name["accuracy@question-end"].count, 2);
  EXPECT_EQ(by_name["accuracy@question-start"].hits, 1);
}

class Retrieval : public testing::TestWithParam<const char*> {};

TEST_P(Retrieval, BuiltSamplesAreGeneratedAndKept) {
  TestFolder folder;
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
