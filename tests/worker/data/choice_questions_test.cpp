// Multiple-choice records in the published layouts, and what is wrong with malformed ones.
#include <gtest/gtest.h>

#include "experiments/error.h"
#include "tests/temporary_folder.h"
#include "tests/user_error.h"
#include "worker/data/choice_question.h"

namespace ropesweep::data {
namespace {

class Questions : public testing::Test {
 protected:
  std::vector<ChoiceQuestion> read(const std::string& name, const std::string& bytes,
                                   const std::string& layout = "", bool skip_bad = false) {
    const ChoiceQuestions set =
        read_questions(folder_.write(name, bytes).string(), layout, skip_bad, 0);
    layout_ = set.layout;
    bad_ = set.bad_records;
    return set.questions;
  }

  /// The message, without the folder.
  std::string error_of(const std::string& name, const std::string& bytes,
                       const std::string& layout = "") {
    const std::string text = user_error_of([&] { read(name, bytes, layout); });
    const size_t at = text.find(name);
    return at == std::string::npos ? text : text.substr(at);
  }

  TemporaryFolder folder_;
  std::string layout_;
  int64_t bad_ = 0;
};

TEST_F(Questions, ArcOfTheHubAndOfAi2AreTheSame) {
  const auto hub =
      read("hub.jsonl", R"({"id":"1","question":"Why?","choices":{"text":["so","not so"],)"
                        R"("label":["1","2"]},"answerKey":"2"})");
  EXPECT_EQ(layout_, "arc");
  const auto ai2 =
      read("ai2.jsonl", R"({"id":"1","question":{"stem":"Why?","choices":[{"text":"so",)"
                        R"("label":"A"},{"text":"not so","label":"B"}]},"answerKey":"B"})");
  for (const auto& questions : {hub, ai2}) {
    ASSERT_EQ(questions.size(), 1u);
    EXPECT_EQ(questions[0].prompt, "Question: Why?\nAnswer:");
    EXPECT_EQ(questions[0].options, (std::vector<std::string>{"so", "not so"}));
    EXPECT_EQ(questions[0].answer, 1);
  }
}

TEST_F(Questions, HellaSwagLosesTheMarksOfWikiHow) {
  const auto questions = read(
      "h.jsonl",
      R"({"activity_label":"Home","ctx_a":"[header] How to paint [title] Open  it. [step]",)"
      R"("ctx_b":"the MAN","endings":[" goes [x [y] on.","a [b","c\n","[substeps] d"],"label":"3"})"
      "\n"
      R"({"activity_label":"Home","ctx_a":"A man","ctx_b":"","endings":["a","b"],"label":0})");
  EXPECT_EQ(layout_, "hellaswag");
  ASSERT_EQ(questions.size(), 2u);
  // As the harness's `preprocess` of Python gives: strip, " [title]" → ". ", brackets out, pairs of
  // spaces to one.
  EXPECT_EQ(questions[0].prompt, "Home: How to paint. Open it. The man");
  EXPECT_EQ(questions[0].options, (std::vector<std::string>{"goes on.", "a [b", "c", " d"}));
  EXPECT_EQ(questions[0].answer, 3);
  EXPECT_EQ(questions[1].prompt, "Home: A man");
}

TEST_F(Questions, MmluOfTheHubAndTheTables) {
  const auto json = read(
      "m.jsonl",
      R"({"question":" What, \"now\"?\nHm","subject":"high_school_biology","choices":["a","b","c","d"],"answer":2})");
  EXPECT_EQ(layout_, "mmlu");
  const auto table = read("high_school_biology_test.csv",
                          "\" What, \"\"now\"\"?\nHm\",a,b,c,d,C\r\n\nx,1,2,3,4,A\n");
  EXPECT_EQ(layout_, "mmlu");
  ASSERT_EQ(table.size(), 2u);
  for (const auto& question : {json[0], table[0]}) {
    EXPECT_EQ(question.prompt, "What, \"now\"?\nHm\nA. a\nB. b\nC. c\nD. d\nAnswer:");
    EXPECT_EQ(question.options, (std::vector<std::string>{"A", "B", "C", "D"}));
    EXPECT_EQ(question.answer, 2);
    EXPECT_EQ(question.subject, "high_school_biology");
  }
  EXPECT_EQ(table[1].index, 1);
  folder_.write("anatomy_test.csv", "y,1,2,3,4,B\n");
  const ChoiceQuestions both = read_questions(folder_.path().string(), "", false, 0);
  ASSERT_EQ(both.questions.size(), 3u) << "the tables of a directory, by name";
  EXPECT_EQ(both.questions[0].subject, "anatomy");
  EXPECT_EQ(choice_description("mmlu", "high_school_biology"),
            "The following are multiple choice questions (with answers) about high school "
            "biology.\n\n");
}

TEST_F(Questions, TruthfulQaAsPublishedAndOfTheHub) {
  const auto published =
      read("mc_task.json",
           "[\n {\"question\": \"Is, [it]?\",\n  \"mc1_targets\": {\"No \\\"[\": 1, \"Yes\": 0},\n"
           "  \"mc2_targets\": {\"No \\\"[\": 1, \"Never\": 1, \"Yes\": 0}},\n"
           " {\"question\": \"Q\", \"mc1_targets\": {\"a\": 1}, \"mc2_targets\": {\"a\": 1}}\n]\n");
  EXPECT_EQ(layout_, "truthfulqa");
  ASSERT_EQ(published.size(), 2u);
  const auto hub =
      read("hub.jsonl", R"({"question":"Is, [it]?","mc1_targets":{"choices":["No \"[","Yes"],)"
                        R"("labels":[1,0]},"mc2_targets":{"choices":["Never","No \"[","Yes"],)"
                        R"("labels":[1,1,0]}})");
  for (const ChoiceQuestion& question : {published[0], hub[0]}) {
    EXPECT_TRUE(question.prompt.ends_with("Barcelona, Spain.\n\nQ: Is, [it]?\nA:"));
    EXPECT_EQ(question.options, (std::vector<std::string>{"No \"[", "Yes", "Never"}));
    EXPECT_EQ(question.answer, 0);
    EXPECT_EQ(question.mc1, (std::vector<int64_t>{0, 1}));
    EXPECT_EQ(question.mc2, (std::vector<int64_t>{2, 0, 1}));
    EXPECT_EQ(question.mc2_true, (std::vector<bool>{true, true, false}));
  }
}

TEST_F(Questions, ErrorsNameFileLineAndField) {
  const std::string good =
      R"({"question":"Why?","choices":{"text":["so"],"label":["1"]},"answerKey":"1"})";
  const auto arc = [&](const std::string& from, const std::string& to) {
    std::string bad = good;
    bad.replace(bad.find(from), from.size(), to);
    return error_of("a.jsonl", good + "\n\n" + bad + "\n");
  };
  EXPECT_EQ(arc("\"answerKey\":\"1\"", "\"answerKey\":\"3\""),
            "a.jsonl:3: answerKey: is none of the options' labels");
  EXPECT_EQ(arc("[\"so\"]", "\"so\""), "a.jsonl:3: choices.text: expected a list of texts");
  EXPECT_EQ(arc("[\"so\"]", "[\"\"]"), "a.jsonl:3: choices.text.0: is empty");
  EXPECT_EQ(arc("[\"1\"]", "[\"1\",\"2\"]"),
            "a.jsonl:3: choices.label: expected a label for each option");
  EXPECT_EQ(error_of("h.jsonl", R"({"activity_label":"a","ctx_a":"b","ctx_b":"","endings":["c"],)"
                                R"("label":1})"),
            "h.jsonl:1: label: is none of the endings' numbers");
  EXPECT_EQ(error_of("m.jsonl", R"({"question":"q","subject":"s","choices":["a"],"answer":0})"),
            "m.jsonl:1: choices: has too few options");
  EXPECT_EQ(error_of("m.csv", "q,a,b,c,d,A\nq,a\n"),
            "m.csv:2: expected 6 columns (question, A, B, C, D, answer), not 2");
  EXPECT_EQ(error_of("m.csv", "q,a,b,c,d,E\n"), "m.csv:1: answer: expected an integer");
  EXPECT_EQ(error_of("m.csv", "q,a,b,c,d,\"A\n"), "m.csv:1: the file ends within quotes");
  EXPECT_EQ(error_of("t.json", "[{\"question\": \"q\", \"mc1_targets\": {\"a\": 1, \"b\": 1}}]"),
            "t.json:1 (element 0): mc1_targets: expected one true answer");
  EXPECT_EQ(error_of("t.json", "[\n{\"question\": \"q\""),
            "t.json:2: the array of records has no end: is the file cut short?");
  EXPECT_EQ(error_of("x.jsonl", "{\"text\": \"a document\"}\n"),
            "x.jsonl:1: endings, answerKey, subject or mc1_targets: is missing: of no known layout "
            "(arc, hellaswag, mmlu, truthfulqa)");
  EXPECT_EQ(error_of("x.jsonl", "{\"question\n"), "x.jsonl:1: expected a JSON object");
  // Of another layout than asked for.
  EXPECT_EQ(error_of("x.jsonl", good, "mmlu"), "x.jsonl:1: subject: is missing");
}

TEST_F(Questions, BadRecordsAreCountedWhenAskedTo) {
  const std::string good =
      R"({"question":"Why?","choices":{"text":["so"],"label":["1"]},"answerKey":"1"})";
  const auto questions = read("a.jsonl", good + "\n{}\nnonsense\n" + good + "\n", "arc", true);
  ASSERT_EQ(questions.size(), 2u);
  EXPECT_EQ(questions[1].index, 3);
  EXPECT_EQ(bad_, 2);
  EXPECT_THROW(read("b.jsonl", "{}\n", "arc", true), Error) << "nothing is left";
}

}  // namespace
}  // namespace ropesweep::data
