// Documents and samples from files: every layout and compression, and what is said of bad ones.
#include "worker/data/corpus.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>
#include <zstd.h>

#include "tests/temporary_folder.h"
#include "tests/user_error.h"
#include "worker/llama/byte_tokenizer.h"

namespace ropesweep::data {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string gzip(const std::string& text) {
  z_stream stream{};
  deflateInit2(&stream, Z_BEST_COMPRESSION, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
  std::string result(deflateBound(&stream, text.size()) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(result.data());
  stream.avail_out = static_cast<uInt>(result.size());
  deflate(&stream, Z_FINISH);
  result.resize(stream.total_out);
  deflateEnd(&stream);
  return result;
}

std::string zstd(const std::string& text) {
  std::string result(ZSTD_compressBound(text.size()), '\0');
  ZSTD_CCtx* context = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);  // as the program zstd does
  result.resize(ZSTD_compress2(context, result.data(), result.size(), text.data(), text.size()));
  ZSTD_freeCCtx(context);
  return result;
}

DatasetSettings text_settings(const std::filesystem::path& path) {
  DatasetSettings settings;
  settings.name = "corpus";
  settings.kind = "text";
  settings.path = path.string();
  return settings;
}

std::vector<std::string> read_all(const DatasetSettings& settings, int64_t* bad = nullptr) {
  const auto tokenizer = llama::byte_tokenizer();
  const auto source = open_documents(settings, *tokenizer, 0);
  std::vector<std::string> texts;
  Document document;
  while (source->next(document)) texts.push_back(document.text);
  if (bad != nullptr) *bad = source->bad_records();
  return texts;
}

std::string error_of(const DatasetSettings& settings) {
  return user_error_of([&] { read_all(settings); });
}

/// Text larger than a block, so that lines and frames cross its edges.
std::string many_records() {
  std::string text;
  for (int i = 0; i < 20000; ++i) text += R"({"text": "document )" + std::to_string(i) + "\"}\n";
  return text;
}

TEST(Documents, ATextFileIsOneDocument) {
  const TemporaryFolder directory;
  const std::string text = "first line\r\nsecond line\n\nlast";
  EXPECT_THAT(read_all(text_settings(directory.write("a.txt", text))), ElementsAre(text));
  EXPECT_THAT(read_all(text_settings(directory.write("b.txt.gz", gzip(text)))), ElementsAre(text));
  EXPECT_THAT(read_all(text_settings(directory.write("c.txt.zst", zstd(text)))), ElementsAre(text));
}

TEST(Documents, JsonLinesOfEachCompressionAreTheSame) {
  const TemporaryFolder directory;
  const std::string text = many_records();
  const auto plain = read_all(text_settings(directory.write("a.jsonl", text)));
  ASSERT_EQ(plain.size(), 20000u);
  EXPECT_EQ(plain[12345], "document 12345");
  EXPECT_EQ(read_all(text_settings(directory.write("b.jsonl.gz", gzip(text)))), plain);
  EXPECT_EQ(read_all(text_settings(directory.write("c.json.zst", zstd(text)))), plain);
  // Several gzip members and zstd frames in a row are one text.
  const std::string half = text.substr(0, 100000), rest = text.substr(100000);
  EXPECT_EQ(read_all(text_settings(directory.write("d.jsonl.gz", gzip(half) + gzip(rest)))), plain);
  EXPECT_EQ(read_all(text_settings(directory.write("e.jsonl.zst", zstd(half) + zstd(rest)))),
            plain);
}

TEST(Documents, IndicesFieldsAndLimits) {
  const TemporaryFolder directory;
  auto settings = text_settings(directory.write(
      "a.jsonl", "{\"input\": \"one\"}\n\n{\"input\": \"two\"}\r\n{\"input\": \"three\"}"));
  settings.text_field = "input";
  EXPECT_THAT(read_all(settings), ElementsAre("one", "two", "three"));
  settings.samples = 2;
  EXPECT_THAT(read_all(settings), ElementsAre("one", "two"));
}

TEST(Documents, MalformedRecordsNameFileLineAndField) {
  const TemporaryFolder directory;
  const auto error = [&](const std::string& line) {
    return error_of(text_settings(directory.write("bad.jsonl", "{\"text\": \"good\"}\n" + line)));
  };
  EXPECT_THAT(error("{\"text\": 3}"), HasSubstr("bad.jsonl:2: text: expected a text"));
  EXPECT_THAT(error("{\"words\": \"a\"}"), HasSubstr("bad.jsonl:2: text: is missing"));
  EXPECT_THAT(error("{\"text\": \"\"}"), HasSubstr("bad.jsonl:2: text: is empty"));
  EXPECT_THAT(error("{\"text\": \"a"), HasSubstr("bad.jsonl:2: not JSON"));
  EXPECT_THAT(error("{\"text\": \"\xff\"}"), HasSubstr("bad.jsonl:2: not JSON"));
  EXPECT_THAT(error("[1]"), HasSubstr("bad.jsonl:2: expected an object"));
}

TEST(Documents, BadRecordsAreSkippedAndCountedWhenAsked) {
  const TemporaryFolder directory;
  auto settings = text_settings(
      directory.write("a.jsonl", "{}\n{\"text\": \"one\"}\nnonsense\n{\"text\": \"two\"}\n"));
  settings.skip_bad_records = true;
  int64_t bad = 0;
  EXPECT_THAT(read_all(settings, &bad), ElementsAre("one", "two"));
  EXPECT_EQ(bad, 2);
  settings.path = directory.write("b.jsonl", "{}\n").string();
  EXPECT_THAT(error_of(settings), HasSubstr("b.jsonl: holds no documents (1 malformed"));
}

TEST(Documents, EmptyMissingUnknownAndDamagedFiles) {
  const TemporaryFolder directory;
  EXPECT_THAT(error_of(text_settings(directory.write("a.txt", ""))), HasSubstr("a.txt: is empty"));
  EXPECT_THAT(error_of(text_settings(directory.write("a.txt.gz", gzip("")))),
              HasSubstr("a.txt.gz: is empty"));
  EXPECT_THAT(error_of(text_settings(directory.write("a.jsonl", "\n\n"))),
              HasSubstr("a.jsonl: holds no documents"));
  EXPECT_THAT(error_of(text_settings(directory.path() / "none.txt")), HasSubstr("no such file"));
  EXPECT_THAT(error_of(text_settings(directory.path())), HasSubstr("unknown layout"));
  EXPECT_THAT(error_of(text_settings(directory.write("a.csv", "a,b"))),
              HasSubstr("unknown layout '.csv'"));
  for (const std::string& packed : {gzip(many_records()), zstd(many_records())}) {
    const std::string cut = packed.substr(0, packed.size() / 2);
    EXPECT_THAT(error_of(text_settings(directory.write("cut.jsonl", cut))),
                HasSubstr("cut.jsonl: damaged or cut short"));
    std::string flipped = packed;
    flipped[flipped.size() / 2] = static_cast<char>(flipped[flipped.size() / 2] ^ 0x5A);
    EXPECT_THAT(error_of(text_settings(directory.write("flipped.jsonl", flipped))),
                HasSubstr("flipped.jsonl"));
  }
}

TEST(Documents, OneArrayAsLines) {
  const TemporaryFolder directory;
  const std::string array = "[{\"text\": \"a\"},\n {\"text\": \"b\"}]";
  EXPECT_THAT(read_all(text_settings(directory.write("a.json", array))), ElementsAre("a", "b"));
  EXPECT_THAT(read_all(text_settings(directory.write("a.json.gz", gzip(array)))),
              ElementsAre("a", "b"));
  EXPECT_THAT(read_all(text_settings(directory.write("a.json.zst", zstd(array)))),
              ElementsAre("a", "b"));
}

TEST(Documents, ShortOnesAreLeftOutByTheirCharacters) {
  const TemporaryFolder directory;
  auto settings = text_settings(directory.write(
      "d.jsonl",
      "{\"text\": \"four\"}\n{\"text\": \"\u00e4\u00f6\u00fc\"}\n{\"text\": \"fives\"}\n"));
  settings.minimum_characters = 4;
  EXPECT_THAT(read_all(settings), ElementsAre("four", "fives"));
  settings.samples = 2;
  EXPECT_THAT(read_all(settings), ElementsAre("four", "fives"));
  settings.minimum_characters = 6;
  EXPECT_THAT(error_of(settings), HasSubstr("holds no documents of 6 characters"));
}

TEST(Documents, OtherKindsAndMissingPaths) {
  auto settings = text_settings("");
  EXPECT_THAT(error_of(settings), HasSubstr("needs a path"));
  settings.kind = "lines";
  EXPECT_THAT(error_of(settings), HasSubstr("kind 'lines' has no documents"));
}

std::vector<Sample> samples_of(const std::string& kind, const std::filesystem::path& path) {
  DatasetSettings settings = text_settings(path);
  settings.kind = kind;
  return load_samples(settings, *llama::byte_tokenizer(), 100);
}

TEST(Samples, LongChatLines) {
  const TemporaryFolder directory;
  const auto path = directory.write(
      "lines.jsonl",
      R"({"random_idx": ["a-b", 3], "expected_number": 123, "num_lines": 12, "token_size": 9, )"
      R"("correct_line": "line a-b", "prompt": "P"})"
      "\n"
      R"({"prompt": "Q", "expected_number": "77"})");
  const auto samples = samples_of("lines", path);
  ASSERT_EQ(samples.size(), 2u);
  EXPECT_EQ(samples[0].prompt, "P");
  EXPECT_EQ(samples[0].reference, "123");
  EXPECT_EQ(samples[0].location, "0.25");
  EXPECT_EQ(samples[1].index, 1);
  EXPECT_EQ(samples[1].reference, "77");
  EXPECT_EQ(samples[1].location, "");
}

TEST(Samples, WikiqaPlacesFollowTheRowOrder) {
  const TemporaryFolder directory;
  std::string rows;
  for (int i = 0; i < 7; ++i) {
    rows += R"({"conversations": [{"value": "P)" + std::to_string(i) +
            R"(", "tok_len": 4}, {"value": "R"}]})" + std::string("\n");
  }
  const auto samples = samples_of("wikiqa", directory.write("qa.jsonl", rows));
  ASSERT_EQ(samples.size(), 7u);
  std::vector<std::string> places, questions;
  for (const Sample& sample : samples) {
    places.push_back(sample.location);
    questions.push_back(sample.question_location);
  }
  EXPECT_THAT(places, ElementsAre("start", "start", "random", "random", "end", "end", "start"));
  EXPECT_THAT(questions, ElementsAre("end", "start", "end", "start", "end", "start", "end"));
  EXPECT_EQ(samples[5].prompt, "P5");
}

TEST(Samples, MalformedRecordsNameTheField) {
  const TemporaryFolder directory;
  const auto error = [&](const std::string& kind, const std::string& record) {
    return user_error_of([&] { samples_of(kind, directory.write("s.jsonl", record)); });
  };
  EXPECT_THAT(error("lines", R"({"prompt": "P"})"),
              HasSubstr("s.jsonl:1: expected_number: is missing"));
  EXPECT_THAT(error("lines", R"({"prompt": "P", "expected_number": 1.5})"),
              HasSubstr("expected_number: expected an integer"));
  EXPECT_THAT(error("passkey", R"({"prompt": "P", "reference": "1", "depth": 2})"),
              HasSubstr("depth: expected a number from 0 to 1"));
  EXPECT_THAT(error("wikiqa", R"({"conversations": [{"value": "P"}]})"),
              HasSubstr("conversations.1.value: is missing"));
  EXPECT_THAT(error("perplexity", "{}"), HasSubstr("has no samples"));
  EXPECT_THAT(error("lines", "\n"), HasSubstr("s.jsonl: holds no samples"));
}

}  // namespace
}  // namespace ropesweep::data
