// The check of WikiQA sets: each rule broken once, and only it is reported.
#include "worker/data/question_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/user_error.h"
#include "tests/worker/data/question_set_fixtures.h"
#include "worker/data/builders.h"
#include "worker/llama/byte_tokenizer.h"

namespace ropesweep::data {
namespace {

using nlohmann::json;
using testing::EndsWith;
using testing::HasSubstr;

class QuestionCheck : public testing::Test {
 protected:
  QuestionCheck() {
    QuestionSetOptions options;
    options.from = directory_.write(
        "from.jsonl",
        question_line(document_with("It was 1612.", 700, 1500, 1), "when", "1612") +
            question_line(document_with("It was 1712.", 700, 1500, 2), "or when", "1712"));
    for (const auto set : {QuestionWording::ffqa, QuestionWording::altqa}) {
      options.set = set;
      const auto file = directory_.path() / "built.jsonl";
      write_question_sets(options, tiny_tokenizer(), {{400, file}});
      (set == QuestionWording::ffqa ? ffqa_ : altqa_) = json_lines_of(file);
    }
    options_.original = options.from;
    options_.tokenizer = &tiny_tokenizer();
    options_.tokens = 400;
  }

  QuestionCheckReport check(const std::vector<json>& rows) {
    std::string text;
    for (const json& row : rows) text += row.dump() + "\n";
    return check_text(text);
  }
  QuestionCheckReport check_text(const std::string& text) {
    options_.file = directory_.write("set.jsonl", text);
    return check_question_set(options_);
  }

  /// "RULE REASON" of the one violation, which is of the row.
  std::string violation_of(const std::vector<json>& rows, int64_t row) {
    const auto report = check(rows);
    if (report.violations.size() != 1) {
      return std::to_string(report.violations.size()) + " violations";
    }
    EXPECT_EQ(report.violations[0].record, row);
    EXPECT_THAT(report.violations[0].place, EndsWith("set.jsonl:" + std::to_string(row + 1)));
    return report.violations[0].rule + ": " + report.violations[0].reason;
  }

  static json& value(json& row, int speaker) { return row["conversations"][speaker]["value"]; }

  /// Puts another prompt, with its length.
  static void set_prompt(json& row, const std::string& prompt) {
    value(row, 0) = prompt;
    row["conversations"][0]["tok_len"] = tiny_tokenizer().encode(prompt).size();
  }
  static QuestionPrompt prompt_of(json& row) {
    return parse_question_prompt(value(row, 0).get<std::string>()).value();
  }

  TemporaryFolder directory_;
  std::vector<json> ffqa_, altqa_;
  QuestionCheckOptions options_;
};

TEST_F(QuestionCheck, WhatIsBuiltPasses) {
  const auto report = check(ffqa_);
  EXPECT_TRUE(report.violations.empty());
  EXPECT_EQ(report.records, 12);
  EXPECT_EQ(report.wordings, (std::map<std::string, int64_t>{{"ffqa", 12}}));
  EXPECT_EQ(report.locations,
            (std::map<std::string, int64_t>{{"start", 4}, {"random", 4}, {"end", 4}}));
  EXPECT_LE(report.most_tokens, 400);
  EXPECT_TRUE(check(altqa_).violations.empty());
}

TEST_F(QuestionCheck, PlainQuestionsPass) {
  for (const int64_t tokens : {300, 2000}) {
    BuildOptions build;
    build.kind = "wikiqa";
    build.samples = 60;
    build.tokens = tokens;
    QuestionCheckOptions options;
    options.file = directory_.path() / "plain.jsonl";
    options.tokens = tokens;
    options.tokenizer = &tiny_tokenizer();
    write_dataset(build, tiny_tokenizer(), options.file);
    const auto report = check_question_set(options);
    EXPECT_TRUE(report.violations.empty())
        << report.violations.size() << ": " << report.violations[0].reason;
    EXPECT_EQ(report.wordings.at("plain"), 60);
  }
}

TEST_F(QuestionCheck, PlacementsGoByTheRowsNumber) {
  std::vector<json> rows = ffqa_;
  std::swap(rows[0], rows[4]);
  const auto report = check(rows);
  ASSERT_EQ(report.violations.size(), 2u);
  EXPECT_THAT(report.violations[0].reason, HasSubstr("and row 0 has it in the first tenth"));
  EXPECT_THAT(report.violations[1].reason, HasSubstr("and row 4 has it in the last tenth"));
  rows = ffqa_;
  std::swap(rows[0], rows[1]);
  const auto questions = check(rows);
  ASSERT_EQ(questions.violations.size(), 2u);
  EXPECT_EQ(questions.violations[0].rule, "question");
  EXPECT_EQ(questions.violations[0].reason,
            "the question stands at the start, and row 0 has it at the end");
}

TEST_F(QuestionCheck, AnEarlierOccurrenceIsAPlacementUnlessAnyWillDo) {
  options_.original.clear();
  std::vector<json> rows = ffqa_;
  QuestionPrompt prompt = prompt_of(rows[4]);
  prompt.document = prompt.document.substr(0, 200) + " 1612 " + prompt.document.substr(206);
  set_prompt(rows[4], question_prompt(prompt.wording, false, prompt.document, prompt.question));
  options_.tokens = 0;
  EXPECT_THAT(violation_of(rows, 4), HasSubstr("placement: '1612' first stands at"));
  options_.any_occurrence = true;
  EXPECT_TRUE(check(rows).violations.empty());
}

TEST_F(QuestionCheck, EachRuleBrokenAlone) {
  std::vector<json> rows = ffqa_;
  rows[3]["conversations"][0]["tok_len"] = 377;
  EXPECT_THAT(violation_of(rows, 3), HasSubstr("length: tok_len says 377, the prompt has "));

  rows = ffqa_;
  value(rows[2], 1) = "Paris";
  options_.original.clear();
  EXPECT_EQ(violation_of(rows, 2),
            "answer: 'Paris' doesn't stand in the document as a whole word or number");

  rows = ffqa_;
  value(rows[2], 1) = "  ";
  EXPECT_EQ(violation_of(rows, 2), "answer: it is blank");

  rows = ffqa_;
  set_prompt(rows[7], "Where?");
  EXPECT_THAT(violation_of(rows, 7), HasSubstr("layout: the prompt is neither"));

  rows = altqa_;
  QuestionPrompt prompt = prompt_of(rows[0]);
  prompt.document = "Max " + prompt.document;
  value(rows[0], 1) = "Max";
  options_.tokens = 0;
  set_prompt(rows[0], question_prompt(prompt.wording, false, prompt.document, prompt.question));
  EXPECT_EQ(violation_of(rows, 0), "number: the answer 'Max' is no number");

  options_.tokens = 300;
  const auto report = check(ffqa_);
  EXPECT_EQ(report.violations.size(), 12u);
  EXPECT_THAT(report.violations[0].reason, HasSubstr("tokens, past 300"));
}

TEST_F(QuestionCheck, TheOriginalHoldsAltqaToItsReplacement) {
  const std::string number = value(altqa_[0], 1);
  const auto altered = [&](auto change) {
    std::vector<json> rows = altqa_;
    QuestionPrompt prompt = prompt_of(rows[0]);
    change(prompt.document);
    set_prompt(rows[0], question_prompt(prompt.wording, false, prompt.document, prompt.question));
    options_.tokens = 0;
    return violation_of(rows, 0);
  };
  EXPECT_THAT(altered([](std::string& document) { document += " 1612"; }),
              HasSubstr("original: the document keeps '1612'"));
  EXPECT_THAT(altered([](std::string& document) { document += " zebra"; }),
              HasSubstr("put back for '" + number + "', the document is no part"));
  EXPECT_THAT(altered([&](std::string& document) { document += " " + number; }),
              HasSubstr("the document is no part"));

  // An answer too far from the original year.
  std::vector<json> rows = altqa_;
  for (int i = 0; i < 6; ++i) {
    QuestionPrompt prompt = prompt_of(rows[static_cast<size_t>(i)]);
    const size_t at = prompt.document.find(number);
    prompt.document.replace(at, number.size(), "1650");
    auto& row = rows[static_cast<size_t>(i)];
    set_prompt(row, question_prompt(prompt.wording, i % 2 == 1, prompt.document, prompt.question));
    value(row, 1) = "1650";
  }
  const auto report = check(rows);
  ASSERT_EQ(report.violations.size(), 6u);
  EXPECT_EQ(report.violations[0].rule, "number");
  EXPECT_THAT(report.violations[0].reason,
              HasSubstr("'1650' is not what the rule makes of '1612'"));
}

TEST_F(QuestionCheck, TheOriginalHoldsFfqaToItsDocument) {
  options_.tokens = 0;
  std::vector<json> rows = ffqa_;
  QuestionPrompt prompt = prompt_of(rows[0]);
  set_prompt(rows[0], question_prompt(prompt.wording, false, prompt.document + " zebra", "when"));
  EXPECT_THAT(violation_of(rows, 0), HasSubstr("original: the document is no part of that of"));
  rows = ffqa_;
  set_prompt(rows[0], question_prompt(prompt.wording, false, prompt.document, "why"));
  EXPECT_THAT(violation_of(rows, 0), HasSubstr("original: no record of the original asks"));
}

TEST_F(QuestionCheck, MalformedRowsAreViolationsWithTheirLines) {
  const auto report = check_text(ffqa_[0].dump() + "\nnot json\n{}\n" + ffqa_[3].dump() + "\n" +
                                 R"({"conversations": [{"value": "p"}, {"value": "a"}]})" + "\n");
  ASSERT_EQ(report.violations.size(), 3u);
  EXPECT_EQ(report.records, 5);
  EXPECT_THAT(report.violations[0].place, EndsWith("set.jsonl:2"));
  EXPECT_EQ(report.violations[0].record, 1);
  EXPECT_EQ(report.violations[0].rule, "record");
  EXPECT_THAT(report.violations[0].reason, HasSubstr("not JSON"));
  EXPECT_THAT(report.violations[1].place, EndsWith("set.jsonl:3"));
  EXPECT_EQ(report.violations[1].reason, "conversations.0.value: is missing");
  EXPECT_EQ(report.violations[2].record, 4);
  EXPECT_EQ(report.violations[2].reason, "conversations.0.tok_len: is missing");
}

TEST_F(QuestionCheck, AnArrayIsReadAsItsLines) {
  // The sets were published as one array.
  std::vector<json> rows = ffqa_;
  EXPECT_TRUE(check_text(json(rows).dump(1)).violations.empty());
  rows[3] = json::object();
  const auto report = check_text(json(rows).dump());
  ASSERT_EQ(report.violations.size(), 1u);
  EXPECT_EQ(report.violations[0].record, 3);
  EXPECT_EQ(report.violations[0].rule, "record");
  EXPECT_EQ(report.records, 12);
}

TEST_F(QuestionCheck, FilesThatCantBeCheckedAreUserErrors) {
  const auto error_of = [&](const std::string& text) {
    return user_error_of([&] { check_text(text); });
  };
  EXPECT_THAT(error_of(""), HasSubstr("is empty"));
  EXPECT_THAT(error_of("\n\n"), HasSubstr("holds no rows"));
  EXPECT_THAT(error_of("\x1f\x8b\x08 damaged"), HasSubstr("damaged or cut short"));
  options_.original = "/nonexistent.jsonl";
  EXPECT_THAT(error_of(ffqa_[0].dump() + "\n"), HasSubstr("/nonexistent.jsonl: no such file"));
}

}  // namespace
}  // namespace ropesweep::data
