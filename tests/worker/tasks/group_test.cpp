// Tasks of a group: runners in threads, met as a sweep's runners are. Evaluations are one runner's
// to the bit; fine-tunes within rounding, and to the bit among groups of one size.
#include "tests/worker/backend/group.h"

#include <gtest/gtest.h>

#include <atomic>
#include <exception>
#include <functional>
#include <thread>

#include "tests/worker/tasks/choice_files.h"
#include "tests/worker/tasks/tiny_model.h"
#include "worker/tasks/loss_record.h"
#include "worker/tasks/multiple_choice.h"
#include "worker/tasks/perplexity.h"
#include "worker/tasks/retrieval.h"

namespace ropesweep::tasks {
namespace {

namespace fs = std::filesystem;

/// The runners of a group, which lasts over tasks.
class Runners {
 public:
  explicit Runners(int size) {
    for (int rank = 0; rank < size; ++rank) {
      runners_.push_back(std::make_unique<TaskRunner>("cpu", 1));
    }
  }

  /// Each rank's outcome. `group`: a new name, or the last one's. Throws the first rank's error
  /// that is not the loss of another.
  std::vector<Outcome> run(const Task& task, const std::string& group,
                           const std::function<TaskContext(int rank)>& context_of = {}) {
    std::vector<Outcome> outcomes(runners_.size());
    std::vector<std::exception_ptr> failures(runners_.size());
    std::vector<std::thread> threads;
    for (size_t rank = 0; rank < runners_.size(); ++rank) {
      threads.emplace_back([&, rank] {
        try {
          GroupPlace place;
          place.name = runners_.size() > 1 ? group : "";
          place.rank = static_cast<int64_t>(rank);
          place.size = static_cast<int64_t>(runners_.size());
          place.directory = (folder_ / group).string();
          const TaskContext context =
              context_of ? context_of(static_cast<int>(rank)) : TaskContext();
          outcomes[rank] = runners_[rank]->run(task, context, place);
        } catch (...) {
          failures[rank] = std::current_exception();
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    lost_ = 0;
    std::exception_ptr cause;
    for (const std::exception_ptr& failure : failures) {
      if (!failure) continue;
      try {
        std::rethrow_exception(failure);
      } catch (const backend::LostMember&) {
        ++lost_;
      } catch (...) {
        cause = cause ? cause : failure;
      }
    }
    if (cause) std::rethrow_exception(cause);
    EXPECT_EQ(lost_, 0);
    EXPECT_TRUE(group.empty() || !fs::exists(folder_ / group)) << "what it met by is removed";
    return outcomes;
  }
  int lost() const { return lost_; }

 private:
  TemporaryFolder folder_;
  std::vector<std::unique_ptr<TaskRunner>> runners_;
  int lost_ = 0;
};

/// All figures of cells, with all digits.
std::string figures(const std::vector<CellOutcome>& cells) {
  nlohmann::json all;
  for (const CellOutcome& cell : cells) {
    all.push_back({cell.cell, cell.measures, cell.samples});
  }
  return all.dump();
}

class GroupOf : public testing::TestWithParam<int> {
 protected:
  GroupOf() : directory_(make_model_directory(folder_ / "model")) {}

  Task perplexity(const std::string& window, const std::vector<int64_t>& lengths) {
    Task made = evaluation_task(directory_, "text", lengths);
    made.dataset.path =
        write_documents(folder_ / "documents.jsonl", {40, 7, 90, 1, 33, 12, 61}).string();
    made.dataset.window = window;
    made.dataset.stride = 5;
    made.dataset.by_position = "powers";
    return made;
  }
  Task retrieval() const {
    Task made = evaluation_task(directory_, "passkey", {400, 500});
    made.dataset.samples = 5;
    made.dataset.max_new_tokens = 6;
    made.dataset.keep_samples = true;
    return made;
  }
  /// Two chunks a micro-batch at most; `chunks` of them a step.
  Task fine_tune(const std::string& output, int64_t chunks) {
    Task made;
    made.id = "test";
    made.kind = TaskKind::fine_tune;
    made.model = made.weights = made.weights_key = directory_.string();
    made.scheme = "linear";
    made.scale = 2;
    made.output = (folder_ / output).string();
    made.training_data.kind = made.validation_data.kind = "text";
    made.training_data.path =
        write_documents(folder_ / "training.jsonl", {40, 7, 90, 33, 55, 21}).string();
    made.validation_data.path =
        write_documents(folder_ / "validation.jsonl", {30, 25, 60}).string();
    RecipeSettings& recipe = made.fine_tune.recipe;
    recipe.context_length = 24;
    recipe.steps = 6;
    recipe.batch_tokens = 24 * chunks;
    recipe.learning_rate = 3e-3;
    recipe.validate_every = 3;
    recipe.save_every = 2;
    made.fine_tune.seed = 5;
    return made;
  }

  TemporaryFolder folder_;
  fs::path directory_;
};

TEST_P(GroupOf, PerplexitiesAreOnesToTheBit) {
  Runners one(1), group(GetParam());
  for (const Task& task : {perplexity("sliding", {16}), perplexity("truncated", {12, 24})}) {
    const Outcome expected = one.run(task, "")[0];
    EXPECT_EQ(figures(group.run(task, "perplexity")[0].cells), figures(expected.cells));
  }
}

TEST_P(GroupOf, AnswersAreOnesToTheLetter) {
  Runners one(1), group(GetParam());
  Task task = retrieval();
  for (const std::string scheme : {"none", "dynamic-ntk"}) {
    task.scheme = scheme;
    task.scale = scheme == "none" ? 1 : 4;
    EXPECT_EQ(figures(group.run(task, "answers")[0].cells), figures(one.run(task, "")[0].cells));
  }
}

TEST_P(GroupOf, ChoicesAreOnesToTheBit) {
  Runners one(1), group(GetParam());
  Task task = choice_task(directory_, write_arc(folder_ / "arc.jsonl", 5));
  for (const std::string scheme : {"linear", "dynamic-ntk"}) {
    task.scheme = scheme;
    task.scale = 2;
    const std::string expected = figures(one.run(task, "")[0].cells);
    EXPECT_EQ(figures(group.run(task, "choices")[0].cells), expected);
    backend::as_group(GetParam(), [&](backend::Backend& backend, backend::Collective& ranks) {
      const LoadedModel loaded = load_model(backend, source_of(task), &ranks);
      loaded.model->use_positions(make_position_encoding(scheme, 2, loaded.model->config().rotary));
      EvaluationProgress progress({}, "");
      EXPECT_EQ(
          figures(measure_multiple_choice(*loaded.model, *loaded.tokenizer, task.dataset,
                                          task.cells, SampleShare(backend, &ranks), progress, {})),
          expected)
          << "with shared weights";
    });
  }
}

/// Weights shared among the ranks, as where they don't fit on one.
TEST_P(GroupOf, SharedWeightsGiveTheSame) {
  for (const std::string scheme : {"linear", "dynamic-ntk"}) {
    Task text = perplexity("sliding", {16}), passkey = retrieval();
    text.scheme = passkey.scheme = scheme;
    text.scale = passkey.scale = 2;
    Runners one(1);
    const Outcome expected_text = one.run(text, "")[0], expected_passkey = one.run(passkey, "")[0];
    backend::as_group(GetParam(), [&](backend::Backend& backend, backend::Collective& group) {
      const LoadedModel loaded = load_model(backend, source_of(text), &group);
      EXPECT_EQ(loaded.model->parts().sharded(), GetParam() > 1);
      loaded.model->use_positions(make_position_encoding(scheme, 2, loaded.model->config().rotary));
      const SampleShare share(backend, &group);
      EvaluationProgress progress({}, "");
      const auto losses = measure_perplexity(*loaded.model, *loaded.tokenizer, text.dataset,
                                             text.cells, share, progress, {});
      const auto answers = measure_retrieval(*loaded.model, *loaded.tokenizer, passkey.dataset,
                                             passkey.cells, share, progress, {});
      if (group.rank() == 0) {
        EXPECT_EQ(figures(losses), figures(expected_text.cells));
      }
      EXPECT_EQ(figures(answers), figures(expected_passkey.cells));
    });
  }
}

/// What was finished before a stop is kept by rank 0 and not computed again, in a group of any
/// size.
TEST_P(GroupOf, AStoppedEvaluationGoesOn) {
  Task task = retrieval();
  const Outcome expected = Runners(1).run(task, "")[0];
  task.output = (folder_ / "progress.jsonl").string();
  std::atomic<bool> stop = false;
  std::atomic<int> reports = 0;
  try {
    Runners(GetParam()).run(task, "stopped", [&](int rank) {
      TaskContext context;
      context.stop = &stop;
      context.progress = [&, rank](double, const std::string&) {
        // After the first round of the second cell has begun.
        stop = stop || (rank == 0 && ++reports > (5 + GetParam() - 1) / GetParam());
      };
      return context;
    });
    FAIL() << "it was not stopped";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), FailureKind::time);
  }
  const std::string kept = read_file(task.output);
  EXPECT_GE(std::count(kept.begin(), kept.end(), '\n'), 1 + 5) << "the first cell's samples";
  EXPECT_EQ(figures(Runners(1).run(task, "")[0].cells), figures(expected.cells));
  EXPECT_EQ(figures(Runners(GetParam()).run(task, "again")[0].cells), figures(expected.cells));
}

/// Chunks in turns (4 a step), and one long sequence split (1 a step).
TEST_P(GroupOf, FineTunesAreOnesWithinRounding) {
  for (const int64_t chunks : {4, 1}) {
    const Task alone = fine_tune(fmt::format("alone-{}", chunks), chunks);
    Task shared = alone;
    shared.output = (folder_ / fmt::format("shared-{}", chunks)).string();
    const Outcome expected = Runners(1).run(alone, "")[0];
    const auto outcomes = Runners(GetParam()).run(shared, "tuning");
    const Curve &curve = outcomes[0].fine_tunes.at(0).curve,
                &want = expected.fine_tunes.at(0).curve;
    ASSERT_EQ(curve.step.size(), want.step.size());
    for (size_t i = 0; i < want.step.size(); ++i) {
      EXPECT_NEAR(curve.training_loss[i], want.training_loss[i], 2e-5) << "step " << i + 1;
      EXPECT_NEAR(curve.gradient_norm[i], want.gradient_norm[i], 2e-4 * want.gradient_norm[i]);
    }
    EXPECT_NEAR(curve.validation_loss[5], want.validation_loss[5], 2e-5);
    EXPECT_EQ(outcomes[0].fine_tunes[0].tokens, expected.fine_tunes[0].tokens);
    for (const Outcome& outcome : outcomes) {
      EXPECT_EQ(nlohmann::json(outcome.fine_tunes.at(0).curve), nlohmann::json(curve));
    }
    // What it leaves is a checkpoint like any other.
    Task evaluation = perplexity("sliding", {16});
    evaluation.weights = evaluation.weights_key = shared.output;
    const double perplexity = Runners(1).run(evaluation, "")[0].cells[0].measures[0].sum_nll;
    evaluation.weights = evaluation.weights_key = alone.output;
    EXPECT_NEAR(Runners(1).run(evaluation, "")[0].cells[0].measures[0].sum_nll, perplexity,
                1e-4 * perplexity);
  }
}

TEST_P(GroupOf, AStoppedFineTuneGoesOnToTheBit) {
  const Task straight = fine_tune("straight", 4);
  const auto expected = Runners(GetParam()).run(straight, "straight");
  Task made = straight;
  made.output = (folder_ / "stopped").string();
  std::atomic<bool> stop = false;
  try {
    Runners(GetParam()).run(made, "stopped", [&](int rank) {
      TaskContext context;
      context.stop = rank == 0 ? &stop : nullptr;  // one is told, all stop
      context.progress = [&](double, const std::string& what) {
        stop = stop || what.starts_with("step 3 of");
      };
      return context;
    });
    FAIL() << "it was not stopped";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), FailureKind::time);
  }
  EXPECT_TRUE(fs::exists(fs::path(made.output) / "state"));
  EXPECT_FALSE(fs::exists(fs::path(made.output) / "finished.json"));
  const auto outcomes = Runners(GetParam()).run(made, "again");
  EXPECT_EQ(nlohmann::json(outcomes[0].fine_tunes[0].curve),
            nlohmann::json(expected[0].fine_tunes[0].curve));
  EXPECT_EQ(read_file(fs::path(made.output) / "model.safetensors"),
            read_file(fs::path(straight.output) / "model.safetensors"));
}

INSTANTIATE_TEST_SUITE_P(Runners, GroupOf, testing::Values(2, 3),
                         [](const auto& size) { return std::to_string(size.param); });

TEST(Group, OneThatFailsEndsTheOthers) {
  TemporaryFolder folder;
  const auto directory = make_model_directory(folder / "model");
  Task task = evaluation_task(directory, "passkey", {400});
  task.dataset.samples = 4;
  task.dataset.max_new_tokens = 4;
  Runners group(2);
  const std::string expected = figures(group.run(task, "first")[0].cells);
  try {
    group.run(task, "first", [](int rank) {
      TaskContext context;
      context.progress = [rank](double, const std::string&) {
        if (rank == 1) throw_user_error("rank 1 fails");
      };
      return context;
    });
    FAIL() << "the failure is told";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "rank 1 fails");
  }
  EXPECT_EQ(group.lost(), 1);
  EXPECT_EQ(figures(group.run(task, "second")[0].cells), expected) << "a new group is met";
}

}  // namespace
}  // namespace ropesweep::tasks
