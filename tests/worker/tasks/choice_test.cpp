// What is chosen from likelihoods known by hand, and the ids that prompts and options become.
#include <gtest/gtest.h>

#include <cmath>

#include "tests/worker/tasks/tiny_model.h"
#include "worker/tasks/choice_prompt.h"
#include "worker/tasks/choice_scoring.h"

namespace ropesweep::tasks {
namespace {

data::ChoiceQuestion question_of(std::vector<std::string> options, int64_t answer) {
  data::ChoiceQuestion question;
  question.prompt = "Question: why?\nAnswer:";
  question.options = std::move(options);
  question.answer = answer;
  return question;
}

TEST(Choice, RawAndByCharacters) {
  // Per character: −1, −0.5, −0.75. Bytes would have it otherwise: "éé" is 4 of them.
  const auto question = question_of({"ab", "abcdefgh", "éé"}, 1);
  const std::vector<double> logs = {-2, -4, -1.5};
  const Choice choice = choose("arc", question, logs);
  EXPECT_EQ(choice.raw, 2);
  EXPECT_EQ(choice.normalised, 1);
  EXPECT_EQ(choose("arc", question, std::vector<double>{-3, -2, -2}).raw, 1)
      << "the first on a tie";
  EXPECT_EQ(choice_record("arc", choice, logs).dump(),
            R"({"choice":2,"choice_normalised":1,"log_likelihoods":[-2.0,-4.0,-1.5]})");
}

TEST(Choice, TruthfulQaAsksTwice) {
  auto question = question_of({"true", "false", "also true"}, 0);
  question.mc1 = {0, 1};
  question.mc2 = {1, 0, 2};
  question.mc2_true = {false, true, true};
  // Option 2 is the likeliest, but not among mc1's. Masses 1, 2, 5 of 8; shifted far below what a
  // double's exp can hold.
  const std::vector<double> logs = {std::log(1.0) - 900, std::log(2.0) - 900, std::log(5.0) - 900};
  const Choice choice = choose("truthfulqa", question, logs);
  EXPECT_EQ(choice.raw, 1);
  EXPECT_NEAR(choice.true_mass, 6.0 / 8, 1e-12);
}

TEST(Choice, TotalsOfEachLayout) {
  const auto names_of = [](const ChoiceTotals& totals) {
    std::vector<std::string> names;
    for (const Measure& measure : totals.measures()) names.push_back(measure.metric);
    return names;
  };
  auto question = question_of({"a", "b"}, 1);
  ChoiceTotals arc("arc");
  arc.add(question, {1, 0, 0}, 4);
  arc.add(question, {1, 1, 0}, 5);
  EXPECT_EQ(names_of(arc), (std::vector<std::string>{"accuracy", "accuracy_normalised"}));
  EXPECT_EQ(arc.measures()[0].hits, 2);
  EXPECT_EQ(arc.measures()[1].hits, 1);
  EXPECT_EQ(arc.measures()[0].tokens, 9);

  ChoiceTotals mmlu("mmlu");
  question.subject = "virology";
  mmlu.add(question, {1, 1, 0}, 4);
  question.subject = "anatomy";
  mmlu.add(question, {0, 0, 0}, 4);
  mmlu.add(question, {1, 1, 0}, 4);
  EXPECT_EQ(names_of(mmlu),
            (std::vector<std::string>{"accuracy", "accuracy@anatomy", "accuracy@virology"}));
  EXPECT_EQ(mmlu.measures()[1].count, 2);
  EXPECT_EQ(mmlu.measures()[1].hits, 1);

  ChoiceTotals truthful("truthfulqa");
  question.subject.clear();
  for (const double mass : {0.5, 0.25, 0.75}) truthful.add(question, {1, 1, mass}, 3);
  EXPECT_EQ(names_of(truthful), (std::vector<std::string>{"accuracy_mc1", "mc2"}));
  const Measure mc1 = truthful.measures()[0], mc2 = truthful.measures()[1];
  EXPECT_EQ(metric_value(mc1), 1);
  EXPECT_NEAR(metric_value(mc2), 0.5, 1e-15);
  // The deviation of 0.5, 0.25, 0.75 is 0.25; of their mean, 0.25 / √3.
  EXPECT_NEAR(metric_standard_error(mc2), 0.25 / std::sqrt(3.0), 1e-15);
  EXPECT_GT(metric_standard_error(mc1), 0) << "Wilson's, though all were right";
}

class ChoicePrompt : public testing::Test {
 protected:
  ChoicePrompt() : tokenizer_(llama::read_tokenizer(make_init_directory(folder_ / "tiny", true))) {}

  TemporaryFolder folder_;
  std::unique_ptr<const llama::Tokenizer> tokenizer_;
  DatasetSettings settings_;
};

TEST_F(ChoicePrompt, IdsAreThoseOfPromptAndOptionTogether) {
  const std::string prompt = "The river runs \u00A0\n";
  const ChoiceIds ids = split_ids(*tokenizer_, settings_, prompt, {" north", "south"});
  EXPECT_EQ(ids.prompt, tokenizer_->encode("The river runs"));
  EXPECT_EQ(ids.prompt.front(), tokenizer_->bos_id());
  ASSERT_EQ(ids.options.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    std::vector<int32_t> whole = ids.prompt;
    whole.insert(whole.end(), ids.options[i].begin(), ids.options[i].end());
    EXPECT_EQ(whole, tokenizer_->encode(prompt + (i == 0 ? " north" : "south")));
  }
  settings_.bos = "no";
  EXPECT_EQ(split_ids(*tokenizer_, settings_, prompt, {"a"}).prompt,
            tokenizer_->encode("The river runs", false));
  EXPECT_THROW(split_ids(*tokenizer_, settings_, "The river", {""}), Error);
}

TEST_F(ChoicePrompt, SolvedQuestionsStandBefore) {
  const auto question = question_of({"so", "thus"}, 1);
  const auto shot = question_of({"because", "since"}, 0);
  EXPECT_EQ(choice_prompt(*tokenizer_, settings_, "arc", question, {&shot, &question}),
            "Question: why?\nAnswer: because\n\nQuestion: why?\nAnswer: thus\n\n"
            "Question: why?\nAnswer:");
  EXPECT_EQ(choice_continuations(settings_, question), (std::vector<std::string>{" so", " thus"}));
  auto of_subject = question;
  of_subject.subject = "world_religions";
  EXPECT_EQ(choice_prompt(*tokenizer_, settings_, "mmlu", of_subject, {}),
            "The following are multiple choice questions (with answers) about world "
            "religions.\n\nQuestion: why?\nAnswer:");
}

TEST_F(ChoicePrompt, ChatsHaveTheLineAboutTheSubjectAsTheirSystemTurn) {
  const auto directory = folder_ / "tiny";
  auto config = nlohmann::json::parse(read_file(directory / "tokenizer_config.json"));
  config["chat_template"] =
      "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou help.<|im_end|>\n' }}"
      "{% endif %}{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + "
      "'<|im_end|>\n' }}{% endfor %}{{ '<|im_start|>assistant\n' }}";
  write_file(directory / "tokenizer_config.json", config.dump());
  const auto tokenizer = llama::read_tokenizer(directory);
  settings_.instruction_template = true;
  auto question = question_of({"so"}, 0);
  EXPECT_EQ(choice_prompt(*tokenizer, settings_, "arc", question, {}),
            "<|im_start|>system\nYou help.<|im_end|>\n<|im_start|>user\nQuestion: why?\nAnswer:"
            "<|im_end|>\n<|im_start|>assistant\n");
  question.subject = "anatomy";
  EXPECT_EQ(choice_prompt(*tokenizer, settings_, "mmlu", question, {}),
            "<|im_start|>system\nThe following are multiple choice questions (with answers) about "
            "anatomy.\n\n<|im_end|>\n<|im_start|>user\nQuestion: why?\nAnswer:"
            "<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(choice_continuations(settings_, question), std::vector<std::string>{"so"});
  EXPECT_EQ(shots_of(settings_, "arc"), 0);
}

TEST(Shots, AreDrawnAsTheHarnessDraws) {
  data::ChoiceQuestions solved;
  solved.layout = "arc";
  for (int64_t i = 0; i < 60; ++i) {
    solved.questions.push_back(question_of({"a"}, 0));
    solved.questions.back().index = i;
  }
  const auto indices = [](const std::vector<const data::ChoiceQuestion*>& shots) {
    std::vector<int64_t> all;
    for (const auto* shot : shots) all.push_back(shot->index);
    return all;
  };
  ShotPicker picker(solved, 3, false);
  EXPECT_EQ(indices(picker.next(solved.questions[49])), (std::vector<int64_t>{49, 28, 7}));
  const auto second = indices(picker.next(solved.questions[0]));
  EXPECT_NE(second, (std::vector<int64_t>{49, 28, 7}));
  ShotPicker same(solved, 2, true);
  EXPECT_EQ(indices(same.next(solved.questions[49])), (std::vector<int64_t>{28, 7}))
      << "not its own";
  EXPECT_THROW(ShotPicker(solved, 60, true), Error);
  solved.layout = "hellaswag";
  EXPECT_EQ(indices(ShotPicker(solved, 2, false).next(solved.questions[1])),
            (std::vector<int64_t>{49, 28}))
      << "of three that are drawn";
  EXPECT_THROW(ShotPicker(solved, 60, false), Error);
  solved.layout = "mmlu";
  for (size_t i = 0; i < 60; ++i) solved.questions[i].subject = i % 2 == 0 ? "even" : "odd";
  ShotPicker first(solved, 3, false);
  EXPECT_EQ(indices(first.next(solved.questions[7])), (std::vector<int64_t>{1, 3, 5}));
  EXPECT_EQ(indices(first.next(solved.questions[8])), (std::vector<int64_t>{0, 2, 4}));
  ShotPicker many(solved, 31, false);
  EXPECT_THROW(many.next(solved.questions[0]), Error) << "30 of a subject";
}

TEST(Shots, TheLeaderboardsNeedAFile) {
  DatasetSettings settings;
  EXPECT_THROW(shots_of(settings, "arc"), Error);
  settings.shots_path = "train.jsonl";
  EXPECT_EQ(shots_of(settings, "arc"), 25);
  EXPECT_EQ(shots_of(settings, "hellaswag"), 10);
  EXPECT_EQ(shots_of(settings, "mmlu"), 5);
  EXPECT_EQ(shots_of(settings, "truthfulqa"), 0);
  settings.shots = 3;
  EXPECT_EQ(shots_of(settings, "arc"), 3);
  EXPECT_THROW(shots_of(settings, "truthfulqa"), Error);
}

}  // namespace
}  // namespace ropesweep::tasks
