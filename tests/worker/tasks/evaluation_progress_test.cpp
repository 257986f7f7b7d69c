// An evaluation that is stopped anywhere goes on at its next sample, with the same figures to the
// bit.
#include "worker/tasks/evaluation_progress.h"

#include <gtest/gtest.h>

#include "tests/worker/tasks/choice_files.h"
#include "tests/worker/tasks/tiny_model.h"
#include "worker/tasks/perplexity.h"

namespace ropesweep::tasks {
namespace {

class Progress : public testing::Test {
 protected:
  Progress() : directory_(make_model_directory(folder_ / "model")) {}

  /// Documents of several lengths: windows of each length are a pass of their own.
  Task perplexity(const std::string& window) const {
    Task made = evaluation_task(directory_, "text", {24, 60});
    made.dataset.path = write_documents(folder_ / "documents.jsonl", {40, 7, 90, 30, 33}).string();
    made.dataset.window = window;
    made.dataset.stride = 5;
    made.dataset.by_position = "3";
    return made;
  }

  Task passkeys() const {
    Task made = evaluation_task(directory_, "passkey", {200, 260});
    made.dataset.samples = 3;
    made.dataset.keep_samples = true;
    return made;
  }

  static Outcome run(const Task& made) {
    TaskRunner runner("cpu", 1);
    return runner.run(made, TaskContext());
  }

  /// Stops at the `count`th sign of progress; false when the task was over by then.
  static bool stopped_after(const Task& made, int count) {
    std::atomic<bool> stop = false;
    TaskContext context;
    context.stop = &stop;
    context.progress = [&](double, const std::string&) { stop = --count <= 0; };
    TaskRunner runner("cpu", 1);
    try {
      runner.run(made, context);
      return false;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), FailureKind::time);
      return true;
    }
  }

  static nlohmann::json figures(Outcome outcome) {
    for (CellOutcome& cell : outcome.cells) cell.seconds = 0;
    return outcome.cells;  // JSON has all digits
  }

  /// `signs`: of progress, enough to come a pass or a sample further.
  void expect_same_wherever_stopped(Task made, int signs) {
    const nlohmann::json expected = figures(run(made));
    bool stopped = true;
    for (int count = 1; stopped; count += 5) {
      made.output = (folder_ / std::to_string(count) / "progress.jsonl").string();
      stopped = stopped_after(made, count);
      EXPECT_EQ(figures(run(made)), expected) << "stopped at " << count;
      ASSERT_LT(count, 1000);
    }
    // Stopped again and again.
    made.output = (folder_ / "often" / "progress.jsonl").string();
    int runs = 0;
    while (stopped_after(made, signs) && ++runs < 100) {
    }
    EXPECT_GE(runs, 1);
    EXPECT_LT(runs, 100) << "it comes no further";
    EXPECT_EQ(figures(run(made)), expected);
  }

  std::vector<std::string> lines_of(const std::filesystem::path& file) const {
    std::ifstream in(file);
    std::vector<std::string> lines;
    for (std::string line; std::getline(in, line);) lines.push_back(line);
    return lines;
  }

  TemporaryFolder folder_;
  std::filesystem::path directory_;
};

TEST_F(Progress, ChoicesAreTheSameWhereverStopped) {
  expect_same_wherever_stopped(
      choice_task(directory_, write_arc(folder_ / "arc.jsonl", 6), {256, 24}), 2);
}

TEST_F(Progress, SlidingPerplexity) { expect_same_wherever_stopped(perplexity("sliding"), 60); }
TEST_F(Progress, TruncatedPerplexity) { expect_same_wherever_stopped(perplexity("truncated"), 4); }
TEST_F(Progress, Retrieval) { expect_same_wherever_stopped(passkeys(), 2); }

TEST_F(Progress, KeptSamplesAreNotComputedAgain) {
  Task made = passkeys();
  made.output = (folder_ / "progress.jsonl").string();
  run(made);
  const std::string key = made.cells[0].id + "/1";
  const auto tokenizer = llama::read_tokenizer(directory_);
  const std::vector<int32_t> other = tokenizer->encode("told otherwise", false);
  // The last line of a key counts.
  std::ofstream(made.output, std::ios::app)
      << nlohmann::json{{"key", key}, {"record", other}}.dump() << "\n";
  EXPECT_EQ(run(made).cells[0].samples[1].text, tokenizer->decode(other));
}

TEST_F(Progress, LinesOfAnotherEvaluationAndCutLinesAreLeftOut) {
  Task made = passkeys();
  const nlohmann::json expected = figures(run(made));
  made.output = (folder_ / "progress.jsonl").string();
  std::ofstream(made.output) << R"({"identity":"another"})"
                             << "\n"
                             << nlohmann::json{{"key", made.cells[0].id + "/0"}, {"record", {1}}}
                             << "\n";
  EXPECT_EQ(figures(run(made)), expected);
  const auto lines = lines_of(made.output);
  ASSERT_EQ(lines.size(), 7u);  // the identity and six samples
  for (size_t cut = 0; cut < lines[2].size(); ++cut) {
    std::ofstream(made.output) << lines[0] << "\n" << lines[1] << "\n" << lines[2].substr(0, cut);
    EvaluationProgress progress(made.output, nlohmann::json::parse(lines[0]).at("identity"));
    EXPECT_NE(progress.find(made.cells[0].id + "/0"), nullptr);
    EXPECT_EQ(progress.find(made.cells[0].id + "/1"), nullptr);
    progress.keep("next", 1);
    EXPECT_EQ(lines_of(made.output).back(), R"({"key":"next","record":1})");
  }
}

TEST_F(Progress, AFileThatCannotBeWrittenStopsNothing) {
  Task made = passkeys();
  const nlohmann::json expected = figures(run(made));
  std::ofstream(folder_ / "file") << "no directory";
  made.output = (folder_ / "file" / "progress.jsonl").string();
  EXPECT_EQ(figures(run(made)), expected);
}

}  // namespace
}  // namespace ropesweep::tasks
