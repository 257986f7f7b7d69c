// FFQA and AltQA as built: layout, lengths, placements, altered numbers, what is left out and why.
#include "worker/data/question_set.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "tests/user_error.h"
#include "tests/worker/data/question_set_fixtures.h"
#include "worker/data/answer_text.h"
#include "worker/data/corpus.h"
#include "worker/data/question_check.h"

namespace ropesweep::data {
namespace {

using nlohmann::json;
using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

int64_t tokens_of(const std::string& text) {
  return static_cast<int64_t>(tiny_tokenizer().encode(text).size());
}

/// Several documents, the answer in the middle of each.
std::string questions_file(int64_t count, int64_t words) {
  std::string lines;
  for (int64_t i = 0; i < count; ++i) {
    const std::string year = std::to_string(1500 + 7 * i), town = "Town" + std::to_string(i);
    lines += question_line(document_with(town + " was founded in " + year + ".", words / 2, words,
                                         static_cast<uint64_t>(i)),
                           "when was " + town + " founded", year);
  }
  return lines;
}

class QuestionSets : public testing::Test {
 protected:
  QuestionSetOptions from(const std::string& lines, QuestionWording set = QuestionWording::ffqa) {
    QuestionSetOptions options;
    options.set = set;
    options.from = directory_.write("from.jsonl", lines);
    return options;
  }

  std::vector<json> rows_of(const QuestionSetOptions& options, int64_t tokens) {
    reports_ = write_question_sets(options, tiny_tokenizer(), {{tokens, file()}});
    return json_lines_of(file());
  }

  std::string error_of(const QuestionSetOptions& options, int64_t tokens = 300) {
    const std::string error = user_error_of([&] {
      write_question_sets(options, tiny_tokenizer(), {{tokens, file()}});
    });
    EXPECT_FALSE(std::filesystem::exists(file()));
    EXPECT_FALSE(std::filesystem::exists(file().string() + ".part"));
    return error;
  }

  std::filesystem::path file() const { return directory_.path() / "set.jsonl"; }

  TemporaryFolder directory_;
  std::vector<QuestionSetReport> reports_;
};

TEST_F(QuestionSets, ThePublishedLayoutByHand) {
  EXPECT_EQ(
      question_prompt(QuestionWording::ffqa, false, "A text.", "who"),
      "Answer the question based on the information provided in the document given below. The "
      "answer should be a single word or a number or a short phrase of few words\n\nDocument:\n"
      "A text.\n\nQuestion:\nwho\n");
  EXPECT_EQ(
      question_prompt(QuestionWording::altqa, true, "A text.", "when"),
      "Answer the question based on the information provided in the document given below. The "
      "answer should be a number\n\nQuestion:\nwhen\n\nDocument:\nA text.\n");
  for (const auto wording :
       {QuestionWording::ffqa, QuestionWording::altqa, QuestionWording::plain}) {
    for (const bool first : {false, true}) {
      const auto parsed =
          parse_question_prompt(question_prompt(wording, first, "A\n\ntext. Q: A:", "who"));
      ASSERT_TRUE(parsed);
      EXPECT_EQ(parsed->wording, wording);
      EXPECT_EQ(parsed->question_first, first);
      EXPECT_EQ(parsed->document, "A\n\ntext. Q: A:");
      EXPECT_EQ(parsed->question, "who");
    }
  }
  EXPECT_FALSE(parse_question_prompt("Who?"));
  EXPECT_FALSE(parse_question_prompt(""));
}

TEST_F(QuestionSets, TenthsOfADocument) {
  using enum AnswerPlace;
  EXPECT_TRUE(stands_at(start, 0, 10, 100) && stands_at(start, 9, 10, 100));
  EXPECT_FALSE(stands_at(start, 9, 11, 100) || stands_at(bulk, 9, 11, 100));
  EXPECT_TRUE(stands_at(bulk, 10, 12, 100) && stands_at(bulk, 80, 90, 100));
  EXPECT_FALSE(stands_at(bulk, 89, 91, 100) || stands_at(end, 89, 91, 100));
  EXPECT_TRUE(stands_at(end, 90, 100, 100));
  EXPECT_TRUE(stands_at(end, 85, 88, 100, 5) && stands_at(start, 9, 15, 100, 5));
  EXPECT_TRUE(stands_at(bulk, 5, 95, 100, 5));
}

TEST_F(QuestionSets, RowsOfSixWithThePlacementsOfTheirNumbers) {
  for (const int64_t tokens : {300, 1000}) {
    const auto rows = rows_of(from(questions_file(4, 2500)), tokens);
    ASSERT_EQ(rows.size(), 24u);
    EXPECT_EQ(reports_[0].documents, 4);
    for (size_t i = 0; i < rows.size(); ++i) {
      const json& human = rows[i].at("conversations").at(0);
      const auto prompt = parse_question_prompt(human.at("value").get<std::string>());
      ASSERT_TRUE(prompt);
      const std::string answer = rows[i].at("conversations").at(1).at("value");
      EXPECT_EQ(answer, std::to_string(1500 + 7 * (i / 6)));
      EXPECT_EQ(prompt->question, "when was Town" + std::to_string(i / 6) + " founded");
      EXPECT_EQ(prompt->question_first, i % 2 == 1);
      EXPECT_THAT(prompt->document,
                  HasSubstr("Town" + std::to_string(i / 6) + " was founded in " + answer + "."));
      const auto places = whole_occurrences(prompt->document, answer);
      ASSERT_EQ(places.size(), 1u);
      const double share =
          static_cast<double>(places[0]) / static_cast<double>(prompt->document.size());
      const size_t place = i % 6 / 2;
      EXPECT_GE(share, place == 0 ? 0 : place == 1 ? 0.1 : 0.9);
      EXPECT_LE(share, place == 0 ? 0.1 : place == 1 ? 0.9 : 1);
      EXPECT_EQ(human.at("tok_len"), tokens_of(human.at("value")));
      EXPECT_LE(human.at("tok_len"), tokens);
      EXPECT_GE(human.at("tok_len"), tokens - 32);
      EXPECT_EQ(rows[i].at("record"), i / 6);
      EXPECT_EQ(rows[i].at("answer_location"), place == 0   ? "start"
                                               : place == 1 ? "random"
                                                            : "end");
      EXPECT_EQ(rows[i].at("question_location"), i % 2 == 1 ? "start" : "end");
    }
  }
}

TEST_F(QuestionSets, PlacementsSpreadOverTheirTenths) {
  std::vector<double> shares[3];
  for (uint64_t seed = 0; seed < 30; ++seed) {
    QuestionSetOptions options = from(questions_file(1, 1200));
    options.seed = seed;
    const auto rows = rows_of(options, 500);
    for (size_t i = 0; i < rows.size(); ++i) {
      const auto prompt =
          parse_question_prompt(rows[i].at("conversations").at(0).at("value").get<std::string>());
      shares[i / 2].push_back(static_cast<double>(prompt->document.find("1500")) /
                              static_cast<double>(prompt->document.size()));
    }
  }
  const auto mean = [](const std::vector<double>& values) {
    double sum = 0;
    for (const double value : values) sum += value;
    return sum / static_cast<double>(values.size());
  };
  EXPECT_NEAR(mean(shares[0]), 0.05, 0.02);
  EXPECT_NEAR(mean(shares[1]), 0.5, 0.13);
  EXPECT_NEAR(mean(shares[2]), 0.95, 0.02);
}

TEST_F(QuestionSets, TheFirstOccurrenceIsWhatIsPlaced) {
  std::string document = document_with("It was 1612.", 700, 1500, 3);
  document += document_with("Again 1612.", 400, 900, 4);
  const auto rows = rows_of(from(question_line(document, "when", "1612")), 300);
  ASSERT_EQ(rows.size(), 6u);
  QuestionCheckOptions check;
  check.file = file();
  check.tokens = 300;
  check.tokenizer = &tiny_tokenizer();
  EXPECT_TRUE(check_question_set(check).violations.empty());
}

TEST_F(QuestionSets, AltqaPutsOneNumberForAllThatStandWhole) {
  const std::string sentence = "Founded in 1612 (1612–13), the 1612th of 1,612.";
  std::string lines = question_line(document_with(sentence, 1000, 2000, 1), "when", "1612");
  lines += question_line(document_with("It has 84 rooms.", 1000, 2000, 2), "how many", 84);
  lines += question_line(document_with("It has 1,612 rooms.", 1000, 2000, 3), "rooms", "1,612");
  std::set<std::string> drawn;
  for (uint64_t seed = 0; seed < 12; ++seed) {
    QuestionSetOptions options = from(lines, QuestionWording::altqa);
    options.seed = seed;
    const auto rows = rows_of(options, 400);
    ASSERT_EQ(rows.size(), 18u);
    for (size_t i = 0; i < rows.size(); ++i) {
      const std::string original = rows[i].at("original_answer");
      const std::string answer = rows[i].at("conversations").at(1).at("value");
      const std::string prompt = rows[i].at("conversations").at(0).at("value");
      EXPECT_THAT(prompt, HasSubstr("The answer should be a number\n"));
      EXPECT_TRUE(is_altered_number(original, answer)) << original << " → " << answer;
      EXPECT_TRUE(whole_occurrences(prompt, original).empty());
      EXPECT_EQ(answer, rows[i / 6 * 6].at("conversations").at(1).at("value").get<std::string>());
      if (i < 6) {
        EXPECT_THAT(prompt, HasSubstr("Founded in " + answer + " (" + answer +
                                      "–13), the 1612th of 1,612."));
        drawn.insert(answer);
      }
    }
    QuestionCheckOptions check;
    check.file = file();
    check.original = options.from;
    EXPECT_TRUE(check_question_set(check).violations.empty());
  }
  EXPECT_GE(drawn.size(), 6u);
}

TEST_F(QuestionSets, ANumberIsTheSameInAllLengths) {
  const auto lengths = std::vector<QuestionSetLength>{{300, directory_.path() / "a"},
                                                      {900, directory_.path() / "b"}};
  write_question_sets(from(questions_file(5, 2500), QuestionWording::altqa), tiny_tokenizer(),
                      lengths);
  const auto a = json_lines_of(lengths[0].file), b = json_lines_of(lengths[1].file);
  ASSERT_EQ(a.size(), 30u);
  ASSERT_EQ(b.size(), 30u);
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].at("conversations").at(1), b[i].at("conversations").at(1));
  }
}

TEST_F(QuestionSets, LengthsOfOneFileFollowEachOther) {
  const auto reports = write_question_sets(from(questions_file(2, 2500)), tiny_tokenizer(),
                                           {{300, file()}, {900, file()}});
  const auto rows = json_lines_of(file());
  ASSERT_EQ(rows.size(), 24u);
  for (size_t i = 0; i < rows.size(); ++i) {
    const double tokens = rows[i].at("conversations").at(0).at("tok_len");
    EXPECT_NEAR(tokens, i < 12 ? 285 : 885, 16);
  }
  ASSERT_EQ(reports.size(), 2u);
  EXPECT_LE(reports[0].most_tokens, 300);
  EXPECT_GE(reports[1].least_tokens, 868);
  QuestionCheckOptions check;
  check.file = file();
  EXPECT_TRUE(check_question_set(check).violations.empty());
}

TEST_F(QuestionSets, DocumentsThatDontAllowAllPlacesAreLeftOutWithTheReason) {
  std::string lines;
  lines += question_line(document_with("It was 1612.", 20, 3000, 1), "early", "1612");
  lines += question_line(document_with("It was 1612.", 100, 200, 2), "short", "1612");
  lines += question_line(document_with("It was 1612.", 1000, 2000, 3), "absent", "1613");
  lines += question_line(document_with("It was 1612th.", 1000, 2000, 4), "joined", "1612");
  lines += question_line(document_with("It was old Max.", 1000, 2000, 5), "no number", "Max");
  lines += question_line(document_with("It was 1612.", 1000, 2000, 6), "good", "1612");
  const auto rows = rows_of(from(lines), 600);
  ASSERT_EQ(reports_[0].left_out.size(), 4u);
  const auto& left = reports_[0].left_out;
  EXPECT_THAT(left[0].place, EndsWith("from.jsonl:1"));
  EXPECT_THAT(left[0].reason, HasSubstr("has the first '1612' in its bulk (--wrap"));
  EXPECT_THAT(left[1].reason, HasSubstr("too few for prompts of 600"));
  EXPECT_THAT(left[2].reason, HasSubstr("doesn't stand in the document"));
  EXPECT_THAT(left[3].reason, HasSubstr("doesn't stand in the document"));
  EXPECT_EQ(rows.size(), 12u);
  rows_of(from(lines, QuestionWording::altqa), 600);
  EXPECT_THAT(reports_[0].left_out[4].place, EndsWith("from.jsonl:5"));
  EXPECT_THAT(reports_[0].left_out[4].reason, HasSubstr("numeric answers only"));
}

TEST_F(QuestionSets, WrappingPutsTheEndBeforeTheBeginning) {
  QuestionSetOptions options =
      from(question_line(document_with("It was 1612.", 20, 3000, 1), "early", "1612"));
  options.wrap = true;
  ASSERT_EQ(rows_of(options, 600).size(), 6u);
  QuestionCheckOptions check;
  check.file = file();
  check.original = options.from;
  EXPECT_TRUE(check_question_set(check).violations.empty());
}

TEST_F(QuestionSets, TextWithoutSpacesIsCutBetweenCharacters) {
  std::string document;
  for (int i = 0; i < 2000; ++i) document += i == 1000 ? " 1612 " : "語ß";
  for (const json& row : rows_of(from(question_line(document, "when", "1612")), 900)) {
    // Reading it back has checked the UTF-8.
    EXPECT_THAT(row.at("conversations").at(0).at("value").get<std::string>(), HasSubstr("1612"));
  }
}

TEST_F(QuestionSets, SyntheticSetsOfAnyLengthKeepTheirRules) {
  for (const auto set : {QuestionWording::ffqa, QuestionWording::altqa}) {
    for (const int64_t tokens : {300, 4000}) {
      QuestionSetOptions options;
      options.set = set;
      options.documents = 3;
      const auto rows = rows_of(options, tokens);
      ASSERT_EQ(rows.size(), 18u) << reports_[0].left_out.size();
      QuestionCheckOptions check;
      check.file = file();
      check.tokens = tokens;
      check.tokenizer = &tiny_tokenizer();
      const auto report = check_question_set(check);
      EXPECT_TRUE(report.violations.empty()) << report.violations[0].reason;
      EXPECT_EQ(report.wordings.at(name_of(set)), 18);
      EXPECT_GE(report.least_tokens, tokens - std::max<int64_t>(32, tokens / 64));
      for (const json& row : rows)
        EXPECT_EQ(row.contains("original_answer"), set == QuestionWording::altqa);
    }
  }
}

TEST_F(QuestionSets, TheyAreSamplesOfKindWikiqa) {
  rows_of(from(questions_file(2, 1500)), 400);
  DatasetSettings settings;
  settings.kind = "wikiqa";
  settings.path = file().string();
  const auto samples = load_samples(settings, tiny_tokenizer(), 512);
  ASSERT_EQ(samples.size(), 12u);
  EXPECT_EQ(samples[3].location, "random");
  EXPECT_EQ(samples[3].question_location, "start");
  EXPECT_EQ(samples[9].reference, "1507");
}

TEST_F(QuestionSets, SameSeedSameBytes) {
  const auto digest_of = [&](const QuestionSetOptions& options) {
    write_question_sets(options, tiny_tokenizer(), {{500, file()}});
    std::ifstream stream(file(), std::ios::binary);
    uint64_t hash = 14695981039346656037ull;
    for (auto at = std::istreambuf_iterator<char>(stream); at != std::istreambuf_iterator<char>();
         ++at) {
      hash = (hash ^ static_cast<unsigned char>(*at)) * 1099511628211ull;
    }
    return hash;
  };
  QuestionSetOptions options;
  options.documents = 2;
  options.seed = 11;
  EXPECT_EQ(digest_of(options), 13957591095054748252ull);
  options.set = QuestionWording::altqa;
  EXPECT_EQ(digest_of(options), 15049998845209136247ull);
  EXPECT_EQ(digest_of(from(questions_file(2, 1500), QuestionWording::altqa)),
            13480720767431706794ull);
}

TEST_F(QuestionSets, MalformedRecordsAreNamed) {
  const std::string good = questions_file(1, 1500);
  EXPECT_THAT(error_of(from(good + "{\"question\": \"q\", \"answer\": \"a\"}\n")),
              EndsWith("from.jsonl:2: document: is missing"));
  EXPECT_THAT(error_of(from("{\"document\": 5, \"question\": \"q\", \"answer\": \"a\"}\n")),
              EndsWith("from.jsonl:1: document: expected a text"));
  EXPECT_THAT(error_of(from("{\"document\": \"d\", \"answer\": \"a\"}\n")),
              EndsWith("from.jsonl:1: question: is missing"));
  EXPECT_THAT(error_of(from("{\"document\": \"d\", \"question\": \"q\"}\n")),
              EndsWith("from.jsonl:1: answer: is missing"));
  EXPECT_THAT(error_of(from("{\"document\": \"d\", \"question\": \"q\", \"answer\": [\"a\"]}\n")),
              EndsWith("from.jsonl:1: answer: expected a text"));
  EXPECT_THAT(error_of(from("{\"document\": \"d\", \"question\": \"q\", \"answer\": \"\"}\n")),
              EndsWith("from.jsonl:1: answer: is empty"));
  EXPECT_THAT(error_of(from("not json\n")), HasSubstr("from.jsonl:1: not JSON"));
  EXPECT_THAT(error_of(from("{\"document\": \"d\", \"question\": \" \", \"answer\": \"d\"}\n")),
              HasSubstr("from.jsonl:1: the question is blank"));
  EXPECT_THAT(error_of(from("{\"document\": \"d\", \"question\": \"q\", \"answer\": \" \"}\n")),
              HasSubstr("from.jsonl:1: the answer is blank"));
  EXPECT_THAT(error_of(from(good), 20), HasSubstr("no document makes rows of 20 tokens"));
  EXPECT_THAT(error_of(from(good), 0), HasSubstr("tokens must be positive"));
  QuestionSetOptions skipping = from("{}\n" + good + "not json\n");
  skipping.skip_bad_records = true;
  EXPECT_EQ(rows_of(skipping, 300).size(), 6u);
  EXPECT_EQ(reports_[0].bad_records, 2);
}

TEST_F(QuestionSets, FieldsHaveTheNamesThatAreGiven) {
  const json record = {{"context", document_with("It was 1612.", 500, 1200, 1)},
                       {"query", "  when  "},
                       {"answers", {{{"text", "1612"}}}}};
  QuestionSetOptions options = from(record.dump() + "\n");
  options.fields = {"context", "query", "answers.0.text"};
  const auto rows = rows_of(options, 300);
  ASSERT_EQ(rows.size(), 6u);
  EXPECT_THAT(rows[0].at("conversations").at(0).at("value").get<std::string>(),
              EndsWith("\n\nQuestion:\nwhen\n"));
}

}  // namespace
}  // namespace ropesweep::data
