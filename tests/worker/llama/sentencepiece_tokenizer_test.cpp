// tokenizer.model: what the configuration beside it changes, and what is said of files that can't
// be read. Whole texts are compared in tokenizer_text_test.cpp.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "experiments/error.h"
#include "tests/worker/llama/tokenizer_fixtures.h"

namespace ropesweep::llama {
namespace {

using nlohmann::json;
using testing::HasSubstr;
namespace fs = std::filesystem;

class SentencePiece : public testing::Test {
 protected:
  SentencePiece()
      : directory_(fs::temp_directory_path() /
                   ("sentencepiece_test." + std::to_string(std::random_device()()))) {
    fs::create_directories(directory_);
    fs::copy_file(fixtures / "sentencepiece/tokenizer.model", directory_ / "tokenizer.model");
  }
  ~SentencePiece() override { fs::remove_all(directory_); }

  void write(const char* name, const std::string& text) const {
    std::ofstream(directory_ / name, std::ios::binary) << text;
  }
  std::unique_ptr<const Tokenizer> read(const json& config) const {
    write("tokenizer_config.json", config.dump());
    return read_tokenizer(directory_);
  }
  std::string error() const {
    try {
      read_tokenizer(directory_);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), FailureKind::user);
      return error.what();
    }
    return "no error";
  }

  fs::path directory_;
};

TEST_F(SentencePiece, SpecialTokensAsInTransformers) {
  const json cases = read_json_file(fixtures / "special.json");
  ASSERT_EQ(cases.size(), 20u);
  for (const json& special : cases) {
    const auto tokenizer = read({{"legacy", special.at("legacy")}});
    EXPECT_EQ(tokenizer->encode(special.at("text").get<std::string>()),
              special.at("ids").get<std::vector<int32_t>>())
        << special;
  }
}

TEST_F(SentencePiece, TheModelTellsWhatTheConfigDoesNot) {
  const auto alone = read_tokenizer(directory_);
  EXPECT_EQ(alone->bos_id(), 1);
  EXPECT_EQ(alone->eos_id(), 2);
  EXPECT_EQ(alone->vocabulary(), 1000);
  EXPECT_EQ(alone->encode("a").front(), 1);
  EXPECT_EQ(alone->chat_template(), "");
  EXPECT_EQ(alone->id_of("<unk>"), 0);
  EXPECT_EQ(alone->id_of("no such piece"), -1);
  EXPECT_EQ(alone->decode({-1, 1, 99999}), "");

  const auto told = read({{"bos_token", nullptr},
                          {"eos_token", "<unk>"},
                          {"add_eos_token", true},
                          {"chat_template", "{{ messages }}"}});
  EXPECT_EQ(told->bos_id(), -1);
  EXPECT_EQ(told->eos_id(), 0);
  EXPECT_EQ(told->encode("").size(), 1u);
  EXPECT_EQ(told->encode("").back(), 0);
  EXPECT_EQ(told->encode("", false).size(), 0u);
  EXPECT_EQ(told->chat_template(), "{{ messages }}");
}

TEST_F(SentencePiece, PrefixSpacesAsTheConfigSays) {
  const auto spaced = read(json::object());
  const auto bare = read({{"add_prefix_space", false}});
  EXPECT_EQ(bare->encode(" the", false), spaced->encode("the", false));
  EXPECT_NE(bare->encode("the", false), spaced->encode("the", false));
  EXPECT_EQ(bare->decode(bare->encode("the", false)), "the");
  EXPECT_EQ(bare->decode(bare->encode(" the", false)), " the");
  EXPECT_EQ(spaced->decode(spaced->encode(" the", false)), " the");
  const auto around = spaced->encode("the</s>the", false);
  EXPECT_EQ(spaced->decode(around, false), "the</s>the");
  const auto legacy = read({{"legacy", true}});
  EXPECT_EQ(legacy->decode(legacy->encode("the</s>the", false), false), "the</s> the");
}

TEST_F(SentencePiece, TokensPastTheModel) {
  write("added_tokens.json", R"({"<extra>": 1000})");
  const auto tokenizer = read_tokenizer(directory_);
  EXPECT_EQ(tokenizer->vocabulary(), 1001);
  EXPECT_EQ(tokenizer->encode("<extra>", false), std::vector<int32_t>{1000});
  EXPECT_EQ(tokenizer->decode({1000}), "<extra>");
  const json special = {{"1002", {{"content", "<more>"}, {"special", true}}}};
  const auto configured = read({{"added_tokens_decoder", special}});
  EXPECT_EQ(configured->vocabulary(), 1003);
  EXPECT_EQ(configured->encode("<more><extra>", false).front(), 1002);
  EXPECT_EQ(configured->decode({1002}), "");
  EXPECT_EQ(configured->decode({1001, 1002}, false), "<more>");
}

TEST_F(SentencePiece, TokenizerJsonGoesFirst) {
  fs::copy_file(fixtures / "llama2/tokenizer.json", directory_ / "tokenizer.json");
  // The library's form writes no second space before a text that begins with one.
  const auto tokenizer = read_tokenizer(directory_);
  EXPECT_EQ(tokenizer->bos_id(), -1);  // as no tokenizer_config.json names one
}

TEST_F(SentencePiece, TextWithoutSpacesTakesNoSquareOfItsLength) {
  // 400,000 characters: quadratic merging would take hours.
  std::string text;
  std::mt19937 random(7);
  for (int i = 0; i < 400'000; ++i) text += static_cast<char>('a' + random() % 26);
  for (const char* name : {"sentencepiece", "llama2", "split"}) {
    const auto tokenizer = read_tokenizer(fixtures / name);
    EXPECT_EQ(tokenizer->decode(tokenizer->encode(text)), text) << name;
  }
}

TEST_F(SentencePiece, ErrorsNameTheFile) {
  write("tokenizer_config.json", R"({"eos_token": "<end>"})");
  EXPECT_THAT(error(), HasSubstr("tokenizer_config.json: eos_token: '<end>' is no token"));
  write("tokenizer_config.json", R"({"added_tokens_decoder": {"x": {"content": "<x>"}}})");
  EXPECT_THAT(error(), HasSubstr("added_tokens_decoder.x: expected a token's id"));
  write("tokenizer_config.json", R"({"added_tokens_decoder": {"5": {"content": "<x>"}}})");
  EXPECT_THAT(error(), HasSubstr("5 is given twice"));
  write("tokenizer_config.json", R"({"legacy": "yes"})");
  EXPECT_THAT(error(), HasSubstr("tokenizer_config.json: legacy: expected true or false"));
  write("tokenizer_config.json", "{}");
  write("tokenizer.model", "no model");
  EXPECT_THAT(error(), HasSubstr("tokenizer.model: no SentencePiece model"));
  fs::remove(directory_ / "tokenizer.model");
  EXPECT_THAT(error(), HasSubstr("tokenizer.json: no such file, nor a tokenizer.model"));
}

}  // namespace
}  // namespace ropesweep::llama
