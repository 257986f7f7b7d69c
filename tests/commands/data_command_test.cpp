// `ropesweep data` by its options, outputs and exit codes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "commands/command.h"
#include "experiments/error.h"
#include "tests/worker/data/question_set_fixtures.h"

namespace ropesweep::commands {
namespace {

using data::document_with;
using data::json_lines_of;
using data::question_line;
using nlohmann::json;
using testing::EndsWith;
using testing::HasSubstr;

class DataCommand : public testing::Test {
 protected:
  DataCommand() {
    std::string lines;
    for (uint64_t i = 0; i < 3; ++i) {
      const std::string year = std::to_string(1500 + i);
      lines += question_line(document_with("Built in " + year + ".", 2000, 4000, i),
                             "when " + std::to_string(i), year);
    }
    from_ = directory_.write("from.jsonl", lines).string();
  }

  /// Standard output; `code` is what the command must return.
  std::string output_of(Arguments arguments, int code = 0) {
    arguments.insert(arguments.end(), {"--quiet", "--model", tiny()});
    testing::internal::CaptureStdout();
    int returned = -1;
    try {
      returned = data_command(arguments);
    } catch (...) {
      testing::internal::GetCapturedStdout();
      throw;
    }
    EXPECT_EQ(returned, code);
    return testing::internal::GetCapturedStdout();
  }

  std::string refusal_of(const Arguments& arguments) {
    try {
      output_of(arguments);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), FailureKind::user);
      return error.what();
    }
    return "no refusal";
  }

  std::string path(const std::string& name) const { return (directory_.path() / name).string(); }
  static std::string tiny() { return ROPESWEEP_SOURCE_DIR "/experiments/tiny"; }

  TemporaryFolder directory_;
  std::string from_;
};

TEST_F(DataCommand, SetsOfSeveralLengthsAreFilesThatPassTheirCheck) {
  const json report =
      json::parse(output_of({"wikiqa", "--set", "altqa", "--from", from_, "--lengths", "1k,2k",
                             "--output", path("altqa_{length}.jsonl")}));
  ASSERT_EQ(report.size(), 2u);
  for (const auto& [index, name, limit] : {std::tuple{0, "1k", 910}, std::tuple{1, "2k", 1934}}) {
    const std::string file = path(std::string("altqa_") + name + ".jsonl");
    EXPECT_EQ(report[static_cast<size_t>(index)]["file"], file);
    EXPECT_EQ(report[static_cast<size_t>(index)]["limit"], limit);
    EXPECT_EQ(report[static_cast<size_t>(index)]["records"], 18);
    EXPECT_EQ(json_lines_of(file).size(), 18u);
    const json checked = json::parse(output_of(
        {"wikiqa", "--check", file, "--original", from_, "--tokens", std::to_string(limit)}));
    EXPECT_EQ(checked["records"], 18);
    EXPECT_EQ(checked["violations"].size(), 0u);
    EXPECT_EQ(checked["wordings"]["altqa"], 18);
    EXPECT_EQ(checked["answer_locations"]["random"], 6);
  }
}

TEST_F(DataCommand, AFileOfAllLengthsAndSyntheticDocuments) {
  output_of({"wikiqa", "--set", "ffqa", "--lengths", "1k,1536", "--samples", "12", "--reserve", "0",
             "--output", path("all.jsonl")});
  const auto rows = json_lines_of(path("all.jsonl"));
  ASSERT_EQ(rows.size(), 24u);
  EXPECT_LE(rows[11].at("conversations").at(0).at("tok_len"), 1024);
  EXPECT_GT(rows[12].at("conversations").at(0).at("tok_len"), 1024);
  output_of({"wikiqa", "--check", path("all.jsonl"), "--tokens", "1536"});
}

TEST_F(DataCommand, ABrokenSetIsCodeTwoWithItsReasons) {
  output_of({"wikiqa", "--from", from_, "--tokens", "500", "--output", path("set.jsonl")});
  auto rows = json_lines_of(path("set.jsonl"));
  std::swap(rows[0], rows[5]);
  std::string text;
  for (const json& row : rows) text += row.dump() + "\n";
  const std::string broken = directory_.write("broken.jsonl", text).string();
  testing::internal::CaptureStderr();
  const json report = json::parse(output_of({"wikiqa", "--check", broken}, 2));
  const std::string log = testing::internal::GetCapturedStderr();
  EXPECT_EQ(report["rules_broken"], json::parse(R"({"placement": 2, "question": 2})"));
  EXPECT_EQ(report["violations"][0]["place"], broken + ":1");
  EXPECT_EQ(report["violations"][0]["rule"], "question");
  EXPECT_THAT(log, HasSubstr(broken + ":6: placement: '1500' first stands at"));
}

TEST_F(DataCommand, PasskeyGridsAndLengths) {
  output_of({"passkey", "--depths", "3", "--samples", "2", "--lengths", "512,1k", "--output",
             path("passkey_{length}.jsonl")});
  for (const auto& [name, limit] : {std::pair{"512", 512}, std::pair{"1k", 1024}}) {
    const auto records = json_lines_of(path(std::string("passkey_") + name + ".jsonl"));
    ASSERT_EQ(records.size(), 6u);
    for (size_t i = 0; i < records.size(); ++i) {
      EXPECT_NEAR(records[i].at("depth").get<double>(), static_cast<double>(i % 3) / 2, 0.02);
      EXPECT_LE(records[i].at("token_size"), limit - 80);
      EXPECT_GE(records[i].at("token_size"), limit - 80 - 40);
    }
  }
}

TEST_F(DataCommand, DocumentsLeftOutAreWarnedOf) {
  std::ofstream(from_, std::ios::app) << question_line("short 1612", "when", "1612");
  testing::internal::CaptureStderr();
  const json report = json::parse(
      output_of({"wikiqa", "--from", from_, "--tokens", "500", "--output", path("set.jsonl")}));
  EXPECT_THAT(testing::internal::GetCapturedStderr(),
              HasSubstr(from_ + ":4: left out of the set of 500 tokens: the document has about"));
  EXPECT_EQ(report[0]["left_out"], 1);
  EXPECT_EQ(report[0]["documents"], 3);
}

TEST_F(DataCommand, OptionsThatContradictAreRefused) {
  const auto with = [&](Arguments arguments) {
    arguments.insert(arguments.end(), {"--output", path("x.jsonl")});
    const std::string refusal = refusal_of(arguments);
    EXPECT_FALSE(std::filesystem::exists(path("x.jsonl")));
    return refusal;
  };
  EXPECT_THAT(with({"lines", "--from", from_}), HasSubstr("--from is of kind wikiqa"));
  EXPECT_THAT(with({"wikiqa", "--set", "ffq"}), HasSubstr("expected ffqa or altqa"));
  EXPECT_THAT(with({"wikiqa", "--wrap"}), HasSubstr("--wrap is of --from"));
  EXPECT_THAT(with({"wikiqa", "--answer-field", "a"}), HasSubstr("those of --from FILE"));
  EXPECT_THAT(with({"wikiqa", "--original", from_}), HasSubstr("are of --check FILE"));
  EXPECT_THAT(with({"wikiqa", "--from", path("none.jsonl")}), HasSubstr("none.jsonl"));
  EXPECT_THAT(with({"wikiqa", "--set", "ffqa", "--lengths", "2m"}), HasSubstr("'2m' is no length"));
  EXPECT_THAT(with({"wikiqa", "--set", "ffqa", "--lengths", "2k,"}), HasSubstr("'' is no length"));
  EXPECT_THAT(with({"lines", "--lengths", "64"}), HasSubstr("64 leaves nothing"));
  EXPECT_THAT(with({"lines", "--lengths", "1k,2k"}), HasSubstr("needs {length} in its name"));
  EXPECT_THAT(with({"lines", "--lengths", "1k", "--tokens", "3"}), HasSubstr("not both"));
  EXPECT_THAT(with({"lines", "--lengths", "1k", "--lines", "3"}), HasSubstr("not both"));
  EXPECT_THAT(with({"lines", "--reserve", "3"}), HasSubstr("--reserve is of --lengths"));
  EXPECT_THAT(with({"lines", "--depths", "3"}), HasSubstr("--depths is of kind passkey"));
  EXPECT_THAT(with({"passkey", "--lines", "3"}), HasSubstr("--lines is of kind lines"));
  EXPECT_THAT(with({"synthetic-wiki", "--lengths", "1k"}), HasSubstr("has documents"));
  EXPECT_THAT(with({"wikiqa", "--check", from_}), HasSubstr("--check and --output exclude"));
  EXPECT_THAT(refusal_of({"wikiqa", "--check", from_, "--set", "ffqa"}),
              HasSubstr("--check and --set exclude"));
  EXPECT_THAT(refusal_of({"wikiqa", "--check", path("none.jsonl")}), HasSubstr("none.jsonl"));
  EXPECT_THAT(refusal_of({"wikiqa"}), HasSubstr("--output is missing"));
}

}  // namespace
}  // namespace ropesweep::commands
