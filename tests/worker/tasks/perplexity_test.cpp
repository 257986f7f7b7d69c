// Perplexity against a naive loop over windows, and the promise of fusion.
#include "worker/tasks/perplexity.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>

#include "tests/worker/tasks/tiny_model.h"
#include "worker/tasks/windows.h"

namespace ropesweep::tasks {
namespace {

class Perplexity : public testing::Test {
 protected:
  Perplexity()
      : directory_(make_model_directory(folder_ / "model")),
        file_(write_documents(folder_ / "documents.jsonl", {40, 7, 90, 1, 33})) {}

  Task task(const std::string& window, const std::vector<int64_t>& lengths) const {
    Task made = evaluation_task(directory_, "text", lengths);
    made.dataset.path = file_.string();
    made.dataset.window = window;
    made.dataset.stride = 5;
    return made;
  }

  Outcome run(const Task& made, std::vector<TokenLoss>* losses = nullptr, int threads = 1) {
    TaskRunner runner("cpu", threads);
    TaskContext context;
    if (losses != nullptr) {
      context.token_loss = [losses](const TokenLoss& loss) { losses->push_back(loss); };
    }
    return runner.run(made, context);
  }

  /// Each document's windows one by one, from whole logits; the losses of scored tokens in order.
  std::vector<TokenLoss> naive(const Task& made) const {
    const auto backend = backend::make_cpu_backend(1);
    const LoadedModel loaded = load_model(*backend, source_of(made));
    const llama::Config& config = loaded.model->config();
    loaded.model->use_positions(make_position_encoding(made.scheme, made.scale, config.rotary));
    const bool bos = made.dataset.bos != "no" && loaded.tokenizer->bos_id() >= 0;
    std::vector<TokenLoss> losses;
    std::ifstream stream(made.dataset.path);
    std::string line;
    for (int64_t document = 0; std::getline(stream, line); ++document) {
      const auto ids =
          loaded.tokenizer->encode(nlohmann::json::parse(line)["text"].get<std::string>(), false);
      const WindowRule rule{made.dataset.window == "sliding", made.cells[0].context_length,
                            made.dataset.stride, made.dataset.last_tokens, bos};
      for (const Window& window : plan_windows(static_cast<int64_t>(ids.size()), rule)) {
        std::vector<int32_t> fed(ids.begin() + window.first, ids.begin() + window.end());
        if (bos) fed.insert(fed.begin(), loaded.tokenizer->bos_id());
        const auto logits = loaded.model->logits(fed, 1);
        for (int64_t i = window.score_from; i < window.end(); ++i) {
          const int64_t row = i - window.first - (bos ? 0 : 1);
          const float* values = logits.data() + row * config.vocabulary;
          double sum = 0;
          for (int64_t v = 0; v < config.vocabulary; ++v) sum += std::exp(double{values[v]});
          const int32_t id = ids[static_cast<size_t>(i)];
          losses.push_back(
              {document, i, id, static_cast<float>(std::log(sum) - double{values[id]})});
        }
      }
    }
    return losses;
  }

  void expect_as_naive(const Task& made) {
    std::vector<TokenLoss> losses;
    const Outcome outcome = run(made, &losses);
    const std::vector<TokenLoss> expected = naive(made);
    ASSERT_EQ(losses.size(), expected.size());
    double sum = 0;
    for (size_t i = 0; i < losses.size(); ++i) {
      EXPECT_EQ(losses[i].document, expected[i].document);
      EXPECT_EQ(losses[i].position, expected[i].position);
      EXPECT_EQ(losses[i].id, expected[i].id);
      EXPECT_NEAR(losses[i].nll, expected[i].nll, 1e-4);
      sum += double{losses[i].nll};
    }
    const Measure& token = outcome.cells[0].measures[0];
    EXPECT_EQ(token.metric, "ppl_token");
    EXPECT_EQ(token.tokens, static_cast<int64_t>(losses.size()));
    EXPECT_NEAR(token.sum_nll, sum, 1e-9 * sum);
  }

  TemporaryFolder folder_;
  std::filesystem::path directory_, file_;
};

TEST_F(Perplexity, SlidingWindowsAreTheNaiveOnes) { expect_as_naive(task("sliding", {16})); }

TEST_F(Perplexity, WithoutBosTheFirstTokenIsNotScored) {
  Task made = task("sliding", {16});
  made.dataset.bos = "no";
  std::vector<TokenLoss> losses;
  run(made, &losses);
  for (const TokenLoss& loss : losses) EXPECT_GT(loss.position, 0);
  expect_as_naive(made);
}

TEST_F(Perplexity, ATokenizerWithoutBosNeedsNone) {
  Task made = task("sliding", {16});
  made.model = made.weights = make_model_directory(folder_ / "no-bos", false).string();
  expect_as_naive(made);
  made.dataset.bos = "yes";
  EXPECT_THROW(run(made), Error);
}

TEST_F(Perplexity, TruncatedWindowsAreTheNaiveOnes) {
  expect_as_naive(task("truncated", {24}));
  Task last = task("truncated", {24});
  last.dataset.last_tokens = 6;
  expect_as_naive(last);
}

void expect_equal_bits(const CellOutcome& a, const CellOutcome& b) {
  EXPECT_EQ(a.cell, b.cell);
  ASSERT_EQ(a.measures.size(), b.measures.size());
  for (size_t i = 0; i < a.measures.size(); ++i) {
    // JSON has all digits of every sum.
    EXPECT_EQ(nlohmann::json(a.measures[i]), nlohmann::json(b.measures[i]));
  }
  EXPECT_EQ(nlohmann::json(a.samples), nlohmann::json(b.samples));
}

TEST_F(Perplexity, OnePassGivesEachLengthWhatItsOwnPassGives) {
  for (const std::string scheme : {"none", "yarn", "dynamic-ntk", "dca", "rerope(12)",
                                   "streaming(first=2, window=8)", "alibi", "xpos"}) {
    for (const int64_t last_tokens : {0, 5}) {
      Task fused = task("truncated", {8, 24, 64, 100});
      fused.scheme = scheme;
      fused.scale = scheme == "none" ? 1 : 2;
      fused.dataset.last_tokens = last_tokens;
      fused.dataset.by_position = last_tokens == 0 ? "powers" : "5";
      const Outcome together = run(fused);
      ASSERT_EQ(together.cells.size(), 4u);
      for (size_t i = 0; i < 4; ++i) {
        Task alone = fused;
        alone.cells = {fused.cells[i]};
        expect_equal_bits(together.cells[i], run(alone).cells[0]);
      }
    }
  }
}

TEST_F(Perplexity, FusionHoldsForBuiltDocuments) {
  Task fused = evaluation_task(directory_, "synthetic-wiki", {20, 64, 150});
  fused.dataset.window = "truncated";
  fused.dataset.samples = 3;
  fused.dataset.minimum_length = 60;
  const Outcome together = run(fused);
  for (size_t i = 0; i < 3; ++i) {
    Task alone = fused;
    alone.cells = {fused.cells[i]};
    expect_equal_bits(together.cells[i], run(alone).cells[0]);
  }
}

TEST_F(Perplexity, FiguresDependNeitherOnThreadsNorOnRepetition) {
  const Task made = task("sliding", {16});
  const Outcome one = run(made), two = run(made, nullptr, 2);
  expect_equal_bits(one.cells[0], two.cells[0]);
}

TEST_F(Perplexity, UnitsAreDocumentsOrTheWindowsOfASingleOne) {
  const Outcome many = run(task("sliding", {16}));
  EXPECT_EQ(many.cells[0].measures[0].count, 5);
  Task single = task("sliding", {16});
  single.dataset.samples = 1;
  const Outcome one = run(single);
  const Measure& token = one.cells[0].measures[0];
  const Measure& window = one.cells[0].measures[1];
  EXPECT_EQ(token.count, window.count);
  EXPECT_GT(token.count, 1);
  EXPECT_TRUE(std::isfinite(metric_standard_error(token)));
  EXPECT_EQ(window.metric, "ppl_window");
}

TEST_F(Perplexity, TheLossByPositionIsThatOfTheTokensThere) {
  for (const std::string window : {"truncated", "sliding"}) {
    for (const bool bos : {true, false}) {
      Task made = task(window, {24});
      made.dataset.bos = bos ? "yes" : "no";
      made.dataset.by_position = "powers";
      std::vector<TokenLoss> losses;
      const Outcome outcome = run(made, &losses);
      // Positions 1, 2–3, 4–7, 8–15, 16–23 of a window; its tokens follow BOS. A token's window is
      // the first that holds it.
      const int64_t held = bos ? 23 : 24;
      std::map<std::string, std::pair<double, int64_t>> expected;
      std::map<std::string, std::set<int64_t>> documents;
      for (const TokenLoss& loss : losses) {
        const int64_t slid = std::max<int64_t>(0, loss.position - held + 1);
        const int64_t first = window == "sliding" ? (slid + 4) / 5 * 5 : 0;
        const int64_t place = loss.position - first + (bos ? 1 : 0);
        const std::string metric = place < 2    ? "loss@1"
                                   : place < 4  ? "loss@2-3"
                                   : place < 8  ? "loss@4-7"
                                   : place < 16 ? "loss@8-15"
                                                : "loss@16-23";
        expected[metric].first += double{loss.nll};
        ++expected[metric].second;
        documents[metric].insert(loss.document);
      }
      const auto& measures = outcome.cells[0].measures;
      ASSERT_EQ(measures.size(), 2 + expected.size()) << window << bos;
      EXPECT_EQ(measures[2].metric, "loss@1");
      for (size_t i = 2; i < measures.size(); ++i) {
        const auto& [nll, tokens] = expected.at(measures[i].metric);
        EXPECT_EQ(measures[i].tokens, tokens) << measures[i].metric;
        EXPECT_NEAR(measures[i].sum_nll, nll, 1e-9 * nll);
        EXPECT_EQ(measures[i].count, static_cast<int64_t>(documents[measures[i].metric].size()));
      }
      made.dataset.by_position = "";
      const Outcome plain = run(made);
      EXPECT_EQ(plain.cells[0].measures.size(), 2u);
      EXPECT_EQ(nlohmann::json(plain.cells[0].measures[0]), nlohmann::json(measures[0]));
    }
  }
  Task wrong = task("truncated", {24});
  wrong.dataset.by_position = "octaves";
  EXPECT_THROW(run(wrong), Error);
}

TEST_F(Perplexity, DocumentsLeaveTheirSums) {
  std::vector<TokenLoss> losses;
  const Outcome outcome = run(task("sliding", {16}), &losses);
  std::map<int64_t, std::pair<double, int64_t>> by_document;
  for (const TokenLoss& loss : losses) {
    by_document[loss.document].first += double{loss.nll};
    ++by_document[loss.document].second;
  }
  const auto& records = outcome.cells[0].samples;
  ASSERT_EQ(records.size(), by_document.size());
  int64_t windows = 0;
  double window_nll = 0;
  for (const SampleRecord& record : records) {
    EXPECT_EQ(record.tokens, by_document.at(record.index).second);
    EXPECT_NEAR(record.nll, by_document.at(record.index).first, 1e-9 * record.nll);
    windows += record.windows;
    window_nll += record.window_nll;
  }
  EXPECT_EQ(windows, outcome.cells[0].measures[1].count);
  EXPECT_NEAR(window_nll, outcome.cells[0].measures[1].sum_nll, 1e-9 * window_nll);
}

TEST_F(Perplexity, MinimumLengthLeavesShortDocumentsOut) {
  Task made = task("sliding", {16});
  made.dataset.minimum_length = 30;
  std::vector<TokenLoss> losses;
  run(made, &losses);
  for (const TokenLoss& loss : losses) EXPECT_TRUE(loss.document != 1 && loss.document != 3);
  made.dataset.minimum_length = 1000;
  EXPECT_THROW(run(made), Error);
}

TEST_F(Perplexity, AStopEndsItAsTime) {
  const std::atomic<bool> stop = true;
  TaskContext context;
  context.stop = &stop;
  TaskRunner runner("cpu", 1);
  try {
    runner.run(task("sliding", {16}), context);
    FAIL() << "it went on";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), FailureKind::time);
  }
}

}  // namespace
}  // namespace ropesweep::tasks
