// The task as a whole: likelihoods of options beside each other have the bits of whole sequences.
#include "worker/tasks/multiple_choice.h"

#include <gtest/gtest.h>

#include "tests/worker/tasks/choice_files.h"
#include "worker/tasks/choice_prompt.h"
#include "worker/tasks/choice_scoring.h"

namespace ropesweep::tasks {
namespace {

class MultipleChoice : public testing::Test {
 protected:
  MultipleChoice() : directory_(make_model_directory(folder_ / "model")) {}

  /// Σ log p of each question's options, each by a pass over its whole sequence: the last
  /// `context_length` tokens that there are to feed.
  std::vector<std::vector<double>> whole(const Task& task, int64_t context_length) const {
    const auto backend = backend::make_cpu_backend(1);
    const LoadedModel loaded = load_model(*backend, source_of(task), nullptr);
    loaded.model->use_positions(
        make_position_encoding(task.scheme, task.scale, loaded.model->config().rotary));
    const auto& settings = task.dataset;
    const data::ChoiceQuestions set = data::read_questions(settings.path, "", false, 0);
    const data::ChoiceQuestions solved =
        settings.shots > 0 ? data::read_questions(settings.shots_path, "", false, 0) : set;
    ShotPicker picker(solved, settings.shots, false);
    std::vector<std::vector<double>> all;
    for (const auto& question : set.questions) {
      const std::string prompt =
          choice_prompt(*loaded.tokenizer, settings, set.layout, question, picker.next(question));
      const ChoiceIds split =
          split_ids(*loaded.tokenizer, settings, prompt, choice_continuations(settings, question));
      all.emplace_back();
      for (const std::vector<int32_t>& option : split.options) {
        std::vector<int32_t> ids = split.prompt;
        ids.insert(ids.end(), option.begin(), option.end());
        const auto most = static_cast<size_t>(context_length) + 1;
        if (ids.size() > most) ids.assign(ids.end() - static_cast<std::ptrdiff_t>(most), ids.end());
        std::vector<int32_t> targets(ids.begin() + 1, ids.end());
        ids.pop_back();
        const std::vector<float> losses = loaded.model->token_losses(ids, targets, 1);
        double sum = 0;
        for (size_t i = losses.size() - option.size(); i < losses.size(); ++i) {
          sum -= static_cast<double>(losses[i]);
        }
        all.back().push_back(sum);
      }
    }
    return all;
  }

  static std::vector<std::vector<double>> likelihoods(const CellOutcome& cell) {
    std::vector<std::vector<double>> all;
    for (const SampleRecord& sample : cell.samples) {
      all.push_back(nlohmann::json::parse(sample.text)["log_likelihoods"]);
    }
    return all;
  }

  TemporaryFolder folder_;
  std::filesystem::path directory_;
};

TEST_F(MultipleChoice, OptionsHaveTheBitsOfWholeSequences) {
  Task task = choice_task(directory_, write_arc(folder_ / "arc.jsonl", 7), {256, 24});
  TaskRunner runner("cpu", 2);
  for (const std::string scheme : {"none", "yarn", "dynamic-ntk"}) {
    task.scheme = scheme;
    task.scale = scheme == "none" ? 1 : 4;
    const Outcome outcome = runner.run(task, TaskContext());
    ASSERT_EQ(outcome.cells.size(), 2u);
    for (const CellOutcome& cell : outcome.cells) {
      EXPECT_EQ(likelihoods(cell), whole(task, std::stoll(cell.cell))) << scheme << cell.cell;
    }
    EXPECT_NE(likelihoods(outcome.cells[0]), likelihoods(outcome.cells[1])) << "cut prompts";
  }
}

TEST_F(MultipleChoice, ShotsAndPromptsThatShareABeginning) {
  // Each prompt begins with the one before it, but for its end; some are too short to branch.
  std::string lines;
  for (const int64_t count : {1, 40, 44, 44, 41, 60}) {
    lines +=
        nlohmann::json{
            {"question", words(count, 9)},
            {"choices", {{"text", {"the river", "1987", "a city"}}, {"label", {"1", "2", "3"}}}},
            {"answerKey", "2"}}
            .dump() +
        "\n";
  }
  write_file(folder_ / "arc.jsonl", lines);
  Task task = choice_task(directory_, folder_ / "arc.jsonl", {512});
  TaskRunner runner("cpu", 1);
  EXPECT_EQ(likelihoods(runner.run(task, TaskContext()).cells[0]), whole(task, 512));
  task.dataset.shots = 2;
  task.dataset.shots_path = write_arc(folder_ / "shots.jsonl", 9, 5).string();
  EXPECT_EQ(likelihoods(runner.run(task, TaskContext()).cells[0]), whole(task, 512));
}

TEST_F(MultipleChoice, FiguresAreThoseOfTheRecords) {
  Task task = choice_task(directory_, write_arc(folder_ / "arc.jsonl", 9));
  TaskRunner runner("cpu", 1);
  const CellOutcome cell = runner.run(task, TaskContext()).cells[0];
  int64_t hits = 0, normalised = 0;
  for (const SampleRecord& sample : cell.samples) {
    const auto record = nlohmann::json::parse(sample.text);
    EXPECT_EQ(sample.hit, record["choice"] == 1);
    hits += sample.hit ? 1 : 0;
    normalised += record["choice_normalised"] == 1 ? 1 : 0;
  }
  ASSERT_EQ(cell.measures.size(), 2u);
  EXPECT_EQ(cell.measures[0].metric, "accuracy");
  EXPECT_EQ(cell.measures[0].hits, hits);
  EXPECT_EQ(cell.measures[0].count, 9);
  EXPECT_EQ(cell.measures[1].metric, "accuracy_normalised");
  EXPECT_EQ(cell.measures[1].hits, normalised);
  task.dataset.samples = 4;
  EXPECT_EQ(runner.run(task, TaskContext()).cells[0].samples.size(), 4u);
  task.cells = {cell_at(2)};
  EXPECT_THROW(runner.run(task, TaskContext()), Error) << "an option longer than the context";
}

}  // namespace
}  // namespace ropesweep::tasks
