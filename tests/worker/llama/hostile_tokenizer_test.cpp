// Tokenizer files that ask for much with little: memory, time, or bytes that are no characters.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "experiments/error.h"
#include "tests/worker/llama/tokenizer_fixtures.h"

namespace ropesweep::llama {
namespace {

using nlohmann::json;
using testing::HasSubstr;

/// The error of reading a changed file and of encoding and decoding with it.
std::string error_of(const std::function<void(json&)>& change) {
  json content = base_tokenizer();
  change(content);
  try {
    const auto tokenizer = read_content(content);
    tokenizer->decode(tokenizer->encode("some text\xc3\xa9 and    more"));
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), FailureKind::user);
    return error.what();
  }
  return "no error";
}

json split_by(const char* pattern) {
  return {{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}};
}

TEST(HostileTokenizer, AnIdFarPastTheVocabularyIsRefused) {
  EXPECT_THAT(error_of([](json& content) { content["model"]["vocab"]["unheard of"] = 16'000'000; }),
              HasSubstr("model.vocab"));
}

TEST(HostileTokenizer, AnExpressionCannotCutCharacters) {
  EXPECT_THAT(error_of([](json& content) { content["pre_tokenizer"] = split_by("\\C"); }),
              HasSubstr("pre_tokenizer.pattern.Regex"));
}

TEST(HostileTokenizer, ReplacementsThatMultiplyEachOtherEnd) {
  json steps = json::array();
  for (int i = 0; i < 200; ++i) {
    steps.push_back({{"type", "Replace"}, {"pattern", {{"String", "e"}}}, {"content", "ee"}});
  }
  EXPECT_THAT(error_of([&](json& content) {
                content["normalizer"] = {{"type", "Sequence"}, {"normalizers", steps}};
              }),
              HasSubstr("replacements"));
  EXPECT_THAT(error_of([&](json& content) {
                content["decoder"] = {{"type", "Sequence"}, {"decoders", steps}};
              }),
              HasSubstr("replacements"));
  json spaces = json::array();
  for (int i = 0; i < 200; ++i) {
    spaces.push_back({{"type", "Metaspace"}, {"replacement", "  "}, {"split", false}});
  }
  EXPECT_THAT(error_of([&](json& content) {
                content["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", spaces}};
              }),
              HasSubstr("replacements"));
}

TEST(HostileTokenizer, DecodersThatTakeNothingAwayEnd) {
  EXPECT_THAT(error_of([](json& content) {
                content["decoder"] = {{"type", "Metaspace"}, {"replacement", ""}};
              }),
              HasSubstr("decoder.replacement"));
  EXPECT_EQ(error_of([](json& content) {
              content["decoder"] = {
                  {"type", "Strip"}, {"content", ""}, {"start", 1 << 20}, {"stop", 1 << 20}};
            }),
            "no error");
}

TEST(HostileTokenizer, NestingWithoutEndIsRefused) {
  const TokenizerDirectory directory;
  const size_t levels = 200'000;
  directory.write("tokenizer.json",
                  "{\"model\": " + std::string(levels, '[') + std::string(levels, ']') + "}");
  EXPECT_THROW(read_tokenizer(directory.path()), Error);
}

TEST(HostileTokenizer, ANumberPastAllNumbersIsRefused) {
  const TokenizerDirectory directory;
  directory.write("tokenizer.json", "{\"version\": 1e999}");
  EXPECT_THROW(read_tokenizer(directory.path()), Error);
}

}  // namespace
}  // namespace ropesweep::llama
