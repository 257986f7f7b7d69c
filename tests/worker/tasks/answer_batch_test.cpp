// Many questions at once: each answer is the one that it has alone, however many are decoded
// together, wherever they end, and whatever their prompts share.
#include "worker/tasks/answer_batch.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/worker/tasks/tiny_model.h"

namespace ropesweep::tasks {
namespace {

constexpr int64_t kNewTokens = 10;

class Answers : public testing::TestWithParam<const char*> {
 protected:
  Answers()
      : directory_(make_model_directory(folder_ / "model")),
        backend_(backend::make_cpu_backend(2)),
        loaded_(load_model(*backend_, {directory_, directory_, directory_, "f32", 0})) {
    const std::string scheme = GetParam();
    loaded_.model->use_positions(make_position_encoding(
        scheme, scheme == "alibi" || scheme == "none" ? 1 : 4, loaded_.model->config().rotary));
  }

  std::vector<int32_t> ids_of(const std::string& text) {
    return loaded_.tokenizer->encode(text, false);
  }

  struct Said {
    std::vector<Generated> answers;
    std::vector<size_t> order;
    int64_t tokens_fed = 0;
  };

  Said answer(const std::vector<Question>& questions, int64_t at_once) {
    Said said;
    said.answers.resize(questions.size());
    AnswerBatch batch(
        *loaded_.model, *loaded_.tokenizer, questions, kNewTokens,
        [&](size_t i, Generated answer) {
          said.answers[i] = std::move(answer);
          said.order.push_back(i);
        },
        at_once);
    while (!batch.ended()) batch.advance();
    said.tokens_fed = batch.tokens_fed();
    return said;
  }

  /// Each question alone.
  std::vector<std::vector<int32_t>> alone(const std::vector<Question>& questions) {
    std::vector<std::vector<int32_t>> ids;
    for (const Question& question : questions) {
      ids.push_back(generate(*loaded_.model, *loaded_.tokenizer, question.prompt, kNewTokens,
                             question.decided, TaskContext())
                        .ids);
    }
    return ids;
  }

  void expect_each_as_alone(const std::vector<Question>& questions) {
    const auto want = alone(questions);
    for (const int64_t at_once : {0, 1, 3, 8}) {
      const Said said = answer(questions, at_once);
      std::vector<size_t> told = said.order;
      std::sort(told.begin(), told.end());
      ASSERT_EQ(told.size(), questions.size()) << "each is told once";
      for (size_t i = 0; i < questions.size(); ++i) {
        EXPECT_EQ(told[i], i);
        EXPECT_EQ(said.answers[i].ids, want[i]) << "question " << i << ", " << at_once;
        EXPECT_EQ(said.answers[i].text, loaded_.tokenizer->decode(want[i]));
      }
    }
  }

  TemporaryFolder folder_;
  std::filesystem::path directory_;
  std::unique_ptr<backend::Backend> backend_;
  LoadedModel loaded_;
};

TEST_P(Answers, AreThoseOfEachAlone) {
  std::vector<Question> questions;
  for (uint64_t i = 0; i < 11; ++i) {
    // Some are decided after a few tokens, the fourth at once, most never.
    const size_t enough = i == 3 ? 1 : 2 + i;
    Decided decided;
    if (i % 3 == 0) {
      decided = [enough, this](const std::string& text) { return ids_of(text).size() >= enough; };
    }
    questions.push_back({ids_of(words(1 + 17 * static_cast<int64_t>(i % 5), i)), decided});
  }
  expect_each_as_alone(questions);
}

TEST_P(Answers, PromptsThatBeginAlikeAreFedOnce) {
  const std::string document = words(150, 1);
  std::vector<Question> questions;
  int64_t tokens = 0;
  for (uint64_t i = 0; i < 6; ++i) {
    questions.push_back({ids_of(document + " " + words(30, i + 2)), {}});
    questions.push_back({ids_of(words(40, i + 20)), {}});
  }
  questions.push_back(questions[0]);
  for (const Question& question : questions) tokens += static_cast<int64_t>(question.prompt.size());
  expect_each_as_alone(questions);
  const int64_t shared = static_cast<int64_t>(ids_of(document).size()) - 1;
  const int64_t forked = loaded_.model->forkable_tokens(shared, shared + 40);
  const std::string scheme = GetParam();
  EXPECT_EQ(forked > 0, scheme == "none" || scheme == "yarn");
  for (const int64_t at_once : {1, 3, 8}) {
    const int64_t fed = answer(questions, at_once).tokens_fed;
    EXPECT_LE(fed, tokens - 6 * forked) << at_once;
    if (forked == 0) {
      EXPECT_EQ(fed, tokens);
    }
  }
}

TEST_P(Answers, NoNewTokensAreNoAnswer) {
  int told = 0;
  const std::vector<Question> questions(3, {{1, 2}, {}});
  AnswerBatch batch(*loaded_.model, *loaded_.tokenizer, questions, 0,
                    [&](size_t, const Generated& answer) { told += answer.ids.empty() ? 1 : 100; });
  EXPECT_TRUE(batch.ended());
  batch.advance();
  EXPECT_EQ(told, 3);
}

TEST_P(Answers, ABadPromptIsToldBeforeAnythingIsFed) {
  const std::vector<Question> questions = {{{1, 2}, {}}, {{}, {}}};
  EXPECT_THROW(answer(questions, 2), Error);
}

INSTANTIATE_TEST_SUITE_P(Schemes, Answers, testing::Values("none", "yarn", "dynamic-ntk", "alibi"),
                         [](const auto& scheme) {
                           std::string name = scheme.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace ropesweep::tasks
