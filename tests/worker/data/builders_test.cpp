// The built data sets: same bytes for ever, as long as asked, and answers that stand where they
// should.
#include "worker/data/builders.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "experiments/error.h"
#include "tests/temporary_folder.h"
#include "tests/user_error.h"
#include "worker/data/corpus.h"
#include "worker/data/lines_text.h"
#include "worker/data/recency_list.h"
#include "worker/data/wiki_writer.h"
#include "worker/llama/byte_tokenizer.h"

namespace ropesweep::data {
namespace {

using nlohmann::json;
using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

const llama::Tokenizer& tiny() {
  static const auto tokenizer =
      llama::read_tokenizer(std::filesystem::path(ROPESWEEP_SOURCE_DIR) / "experiments/tiny");
  return *tokenizer;
}

int64_t tokens_of(const std::string& text) {
  return static_cast<int64_t>(tiny().encode(text).size());
}

std::string file_of(const BuildOptions& options, const llama::Tokenizer& tokenizer = tiny()) {
  const TemporaryFolder directory;
  write_dataset(options, tokenizer, directory.path() / "set.jsonl");
  EXPECT_FALSE(std::filesystem::exists(directory.path() / "set.jsonl.part"));
  std::ifstream stream(directory.path() / "set.jsonl", std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

std::vector<json> records_of(const BuildOptions& options) {
  std::vector<json> records;
  std::istringstream lines(file_of(options));
  for (std::string line; std::getline(lines, line);) records.push_back(json::parse(line));
  return records;
}

BuildOptions options_of(const std::string& kind, int64_t samples, int64_t tokens) {
  BuildOptions options;
  options.kind = kind;
  options.samples = samples;
  options.tokens = tokens;
  return options;
}

std::vector<Sample> built_samples(const std::string& kind, int64_t samples,
                                  int64_t context_length) {
  DatasetSettings settings;
  settings.kind = kind;
  settings.samples = samples;
  return load_samples(settings, tiny(), context_length);
}

uint64_t fnv1a(const std::string& bytes) {
  uint64_t hash = 14695981039346656037ull;
  for (const char c : bytes) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ull;
  return hash;
}

size_t occurrences(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

TEST(Builders, SameSeedSameBytes) {
  // Kept from the first version: results of sweeps are compared over versions and machines.
  const std::map<std::string, uint64_t> hashes = {{"lines", 11667560194518578477ull},
                                                  {"passkey", 5887093575300503762ull},
                                                  {"wikiqa", 16079724109603474276ull},
                                                  {"synthetic-wiki", 756593424731816349ull},
                                                  {"synthetic-mix", 17993256754448551359ull}};
  const auto bytes = llama::byte_tokenizer();
  ASSERT_EQ(hashes.size(), built_kinds().size());
  for (const auto& [kind, hash] : hashes) {
    BuildOptions options = options_of(kind, 6, 1200);
    options.seed = 11;
    const std::string text = file_of(options, *bytes);
    EXPECT_EQ(fnv1a(text), hash) << kind;
    EXPECT_EQ(file_of(options, *bytes), text) << kind;
    options.seed = 12;
    EXPECT_NE(file_of(options, *bytes), text) << kind;
  }
}

/// Counts the bytes that it is given.
class CountingTokenizer : public llama::Tokenizer {
 public:
  std::vector<int32_t> encode(std::string_view text, bool special_tokens) const override {
    bytes_ += static_cast<int64_t>(text.size());
    return tokenizer_->encode(text, special_tokens);
  }
  std::string decode(const std::vector<int32_t>& ids, bool skip_special) const override {
    return tokenizer_->decode(ids, skip_special);
  }
  int64_t vocabulary() const override { return tokenizer_->vocabulary(); }
  int32_t id_of(std::string_view token) const override { return tokenizer_->id_of(token); }
  int64_t bytes() const { return bytes_; }

 private:
  std::unique_ptr<const llama::Tokenizer> tokenizer_ = llama::byte_tokenizer();
  mutable int64_t bytes_ = 0;
};

TEST(Builders, EightTimesTheLengthIsAboutEightTimesTheTokenizersWork) {
  for (const std::string& kind : built_kinds()) {
    const auto bytes_of = [&](int64_t tokens) {
      const CountingTokenizer tokenizer;
      file_of(options_of(kind, 4, tokens), tokenizer);
      return static_cast<double>(tokenizer.bytes());
    };
    EXPECT_LE(bytes_of(160000), 8 * 1.5 * bytes_of(20000)) << kind;
  }
}

TEST(Builders, ARecordDependsOnItsIndexAlone) {
  for (const std::string& kind : built_kinds()) {
    const std::string few = file_of(options_of(kind, 3, 400));
    EXPECT_THAT(file_of(options_of(kind, 7, 400)), StartsWith(few)) << kind;
  }
}

TEST(Builders, PromptsNearlyFillTheContext) {
  for (const std::string kind : {"lines", "passkey", "wikiqa"}) {
    for (const int64_t context_length : {256, 512, 2000}) {
      for (const Sample& sample : built_samples(kind, 8, context_length)) {
        const int64_t room = context_length - default_new_tokens(kind);
        EXPECT_LE(tokens_of(sample.prompt), room) << kind;
        EXPECT_GE(tokens_of(sample.prompt), room - 48) << kind << " of " << context_length;
      }
    }
  }
}

TEST(Builders, WhatIsBuiltInMemoryIsWhatTheFileSays) {
  for (const std::string kind : {"lines", "passkey", "wikiqa"}) {
    const TemporaryFolder directory;
    const auto file = directory.path() / "set.jsonl";
    write_dataset(options_of(kind, 7, 512 - default_new_tokens(kind)), tiny(), file);
    DatasetSettings settings;
    settings.kind = kind;
    settings.path = file.string();
    const auto read = load_samples(settings, tiny(), 512);
    const auto built = built_samples(kind, 7, 512);
    ASSERT_EQ(read.size(), built.size());
    for (size_t i = 0; i < read.size(); ++i) {
      EXPECT_EQ(read[i].prompt, built[i].prompt);
      EXPECT_EQ(read[i].reference, built[i].reference);
      EXPECT_EQ(read[i].location, built[i].location);
      EXPECT_EQ(read[i].question_location, built[i].question_location);
    }
  }
}

TEST(LinesBuilder, FollowsLongChatsLayout) {
  BuildOptions options = options_of("lines", 4, 0);
  options.lines = 150;
  for (const json& record : records_of(options)) {
    const std::string prompt = record.at("prompt");
    EXPECT_EQ(record.at("num_lines"), 150);
    EXPECT_EQ(record.at("token_size"), tokens_of(prompt));
    EXPECT_EQ(occurrences(prompt, ": REGISTER_CONTENT is <"), 150u);
    const std::string name = record.at("random_idx").at(0);
    const std::string line = record.at("correct_line");
    const auto number = std::to_string(record.at("expected_number").get<int64_t>());
    EXPECT_EQ(line, "line " + name + ": REGISTER_CONTENT is <" + number + ">\n");
    EXPECT_EQ(occurrences(prompt, line), 1u);
    EXPECT_EQ(occurrences(prompt, "line " + name + ":"), 1u);
    EXPECT_THAT(prompt, StartsWith("Below is a record of lines I want you to remember."));
    EXPECT_THAT(prompt,
                EndsWith("\n\nNow the record is over. Tell me what is the <REGISTER_CONTENT> in "
                         "line " +
                         name + "? I need the number."));
    // The line asked for is where random_idx says.
    const std::string before = prompt.substr(0, prompt.find(line));
    EXPECT_EQ(occurrences(before, ": REGISTER_CONTENT is <"),
              record.at("random_idx").at(1).get<size_t>());
  }
}

TEST(LinesBuilder, NamesNeverRepeatInARecord) {
  std::set<std::string> names;
  for (int64_t line = 0; line < 20000; ++line) names.insert(line_name(line, 5));
  EXPECT_EQ(names.size(), 20000u);
}

TEST(PasskeyBuilder, HidesOneKeyAtUniformDepths) {
  double sum = 0;
  constexpr int64_t count = 200;
  for (const json& record : records_of(options_of("passkey", count, 500))) {
    const std::string prompt = record.at("prompt"), key = record.at("reference");
    EXPECT_EQ(key.size(), 5u);
    EXPECT_EQ(occurrences(prompt, key), 2u);
    EXPECT_THAT(prompt, EndsWith("\nWhat is the pass key? The pass key is"));
    const double depth = record.at("depth");
    const auto at = static_cast<double>(prompt.find("The pass key is " + key));
    EXPECT_NEAR(at / static_cast<double>(prompt.size()), 0.1 + 0.8 * depth, 0.12);
    sum += depth;
  }
  EXPECT_NEAR(sum / count, 0.5, 0.1);  // five standard errors
}

TEST(PasskeyBuilder, AGridHasEachDepthEquallyOften) {
  BuildOptions options = options_of("passkey", 15, 600);
  options.depths = 5;
  const auto records = records_of(options);
  std::set<std::string> keys;
  for (size_t i = 0; i < records.size(); ++i) {
    EXPECT_NEAR(records[i].at("depth").get<double>(), static_cast<double>(i % 5) / 4, 0.01);
    EXPECT_LE(records[i].at("token_size"), 600);
    keys.insert(records[i].at("reference"));
  }
  EXPECT_GE(keys.size(), 14u);
  const std::string first = records[0].at("prompt"), last = records[4].at("prompt");
  EXPECT_LT(first.find("The pass key is"), first.find("The grass"));
  EXPECT_GT(last.find("The pass key is"), last.rfind("The grass"));
}

TEST(WikiqaBuilder, TheAnswerStandsOnceWhereTheLocationSays) {
  for (const Sample& sample : built_samples("wikiqa", 60, 1000)) {
    ASSERT_EQ(occurrences(sample.prompt, sample.reference), 1u) << sample.prompt;
    const bool question_first = sample.question_location == "start";
    EXPECT_EQ(sample.prompt.starts_with("Q: "), question_first);
    EXPECT_THAT(sample.prompt, EndsWith("A:"));
    const size_t first = question_first ? sample.prompt.find("\n\n") + 2 : 0;
    const size_t last = sample.prompt.rfind("\n\n");
    const std::string before =
        sample.prompt.substr(first, sample.prompt.find(sample.reference) - first);
    const double share = static_cast<double>(tokens_of(before)) /
                         static_cast<double>(tokens_of(sample.prompt.substr(first, last - first)));
    // A sentence may begin within the first tenth and end past it.
    const double sentence = 0.03;
    if (sample.location == "start") {
      EXPECT_LE(share, 0.1 + sentence);
    } else if (sample.location == "end") {
      EXPECT_GE(share, 0.9 - sentence);
    } else {
      EXPECT_GE(share, 0.1 - sentence);
      EXPECT_LE(share, 0.9 + sentence);
    }
  }
}

TEST(SyntheticWiki, DocumentsHaveTheTokensAskedForAndKnowTheirAnswers) {
  for (const json& record : records_of(options_of("synthetic-wiki", 5, 3000))) {
    const std::string text = record.at("text");
    EXPECT_GE(tokens_of(text), 3000);
    EXPECT_LE(tokens_of(text), 3000 + 64);
    ASSERT_EQ(record.at("questions").size(), 8u);
    for (const json& question : record.at("questions")) {
      EXPECT_THAT(text, HasSubstr(question.at("answer").get<std::string>()));
    }
  }
}

TEST(SyntheticWiki, FactsRecurAtAllDistances) {
  // How many sentences ago was a question's answer told last? Every octave must have its share.
  WikiWriter writer(Random(3, "recurrence", 0), 100);
  std::map<std::string, int> last;
  std::map<int, int> octaves;
  int questions = 0;
  for (int i = 0; i < 4000; ++i) {
    std::string piece = writer.next();
    const Fact& newest = writer.facts().back();
    const std::string newest_key = question(newest);
    if (!last.contains(newest_key)) last[newest_key] = i;
    const size_t at = piece.find("Q: ");
    if (at == std::string::npos) continue;
    const std::string key = piece.substr(at + 3, piece.find('?') - at - 2);
    ASSERT_TRUE(last.contains(key)) << piece;
    ++questions;
    ++octaves[std::bit_width(static_cast<unsigned>(i - last[key]))];
    last[key] = i;
  }
  EXPECT_GT(questions, 2000);
  for (int octave = 2; octave <= 11; ++octave) {
    EXPECT_GT(octaves[octave], questions / 50) << "2^" << octave - 1 << " sentences back";
  }
}

TEST(RecencyList, FindsWhatAListMovedToItsEndFinds) {
  RecencyList list;
  std::vector<size_t> naive;
  Random random(5, "recency", 0);
  for (size_t step = 0; step < 5000; ++step) {
    if (naive.empty() || random.chance(20)) {
      list.add(step);
      naive.push_back(step);
    } else {
      const int64_t back = random.below(static_cast<int64_t>(naive.size()));
      const auto at = naive.end() - 1 - back;
      ASSERT_EQ(list.renew(back), *at);
      std::rotate(at, at + 1, naive.end());
    }
    ASSERT_EQ(list.count(), static_cast<int64_t>(naive.size()));
  }
}

TEST(SyntheticWiki, LongDocumentsHaveTheirBytes) {
  BuildOptions options = options_of("synthetic-wiki", 1, 140000);
  options.seed = 3;
  const std::string text = file_of(options);
  EXPECT_EQ(fnv1a(text), 14068410612856632099ull);
  const json record = json::parse(text);
  EXPECT_GE(tokens_of(record.at("text")), 140000);
  for (const json& question : record.at("questions")) {
    EXPECT_GE(occurrences(record.at("text"), question.at("answer")), 1u);
  }
}

TEST(LinesBuilder, ReachesPastTheStudysLengths) {
  for (const int64_t tokens : {25000, 40000}) {
    for (const json& record : records_of(options_of("lines", 1, tokens))) {
      const std::string prompt = record.at("prompt");
      EXPECT_LE(record.at("token_size"), tokens);
      EXPECT_GE(record.at("token_size"), tokens - 60);
      std::set<std::string> names;
      for (size_t at = prompt.find("\nline "); at != std::string::npos;
           at = prompt.find("\nline ", at + 1)) {
        names.insert(prompt.substr(at + 6, prompt.find(':', at) - at - 6));
      }
      EXPECT_EQ(names.size(), record.at("num_lines").get<size_t>());
    }
  }
  BuildOptions two = options_of("lines", 5, 0);
  two.lines = 2;
  for (const json& record : records_of(two)) EXPECT_EQ(record.at("num_lines"), 2);
}

TEST(SyntheticMix, SharesAndLengths) {
  BuildOptions options = options_of("synthetic-mix", 400, 256);
  options.lines_percent = 40;
  options.passkey_percent = 20;
  options.wikiqa_percent = 0;
  std::map<std::string, int> kinds;
  for (const json& record : records_of(options)) {
    ++kinds[record.at("kind")];
    EXPECT_GE(tokens_of(record.at("text")), 256);
  }
  EXPECT_NEAR(kinds["lines"], 160, 50);
  EXPECT_NEAR(kinds["passkey"], 80, 40);
  EXPECT_NEAR(kinds["synthetic-wiki"], 160, 50);
  EXPECT_EQ(kinds["wikiqa"], 0);
}

TEST(SyntheticMix, ShortWindowsHoldALineWithItsQuestion) {
  BuildOptions options = options_of("synthetic-mix", 50, 64);
  options.lines_percent = 100;
  options.passkey_percent = options.wikiqa_percent = 0;
  for (const json& record : records_of(options)) {
    const std::string text = record.at("text");
    const size_t end = text.find('\n', text.find("I need the number. "));
    ASSERT_NE(end, std::string::npos);
    EXPECT_LE(tokens_of(text.substr(0, end)), 64);
  }
}

std::string error_of(const BuildOptions& options) {
  return user_error_of([&] { file_of(options); });
}

TEST(Builders, WrongOptionsAreUserErrors) {
  EXPECT_THAT(error_of(options_of("passkeys", 1, 100)), HasSubstr("did you mean 'passkey'?"));
  EXPECT_THAT(error_of(options_of("lines", 0, 1000)), HasSubstr("samples must be positive"));
  EXPECT_THAT(error_of(options_of("synthetic-wiki", 1, 0)), HasSubstr("tokens must be positive"));
  EXPECT_THAT(error_of(options_of("lines", 1, 100)), HasSubstr("ask for a longer context"));
  EXPECT_THAT(error_of(options_of("passkey", 1, 20)), HasSubstr("ask for a longer context"));
  EXPECT_THAT(error_of(options_of("wikiqa", 1, 10)), HasSubstr("ask for a longer context"));
  BuildOptions shares = options_of("synthetic-mix", 1, 100);
  shares.lines_percent = 90;
  EXPECT_THAT(error_of(shares), HasSubstr("the shares make 115 percent"));
  BuildOptions depths = options_of("passkey", 1, 400);
  depths.depths = 1;
  EXPECT_THAT(error_of(depths), HasSubstr("1 depths make no grid"));
  shares.lines_percent = -1;
  EXPECT_THAT(error_of(shares), HasSubstr("shares are 0 to 100"));
}

TEST(Builders, ALostDirectoryIsTheMachinesFault) {
  try {
    write_dataset(options_of("passkey", 1, 200), tiny(), "/nonexistent/directory/file.jsonl");
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), FailureKind::transient);
    EXPECT_THAT(error.what(),
                HasSubstr("/nonexistent/directory/file.jsonl.part: cannot be opened"));
  }
}

}  // namespace
}  // namespace ropesweep::data
