// tokenizer.json: merging by its definition, special tokens, and what is said of files that can't
// be read. Ids and texts of each kind are compared in tokenizer_text_test.cpp.
#include "worker/llama/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <random>

#include "experiments/error.h"
#include "tests/worker/llama/tokenizer_fixtures.h"
#include "worker/llama/byte_tokenizer.h"
#include "worker/llama/json_place.h"

namespace ropesweep::llama {
namespace {

using nlohmann::json;
using testing::HasSubstr;

/// The message of reading the base tokenizer with a change.
std::string error_of(const std::function<void(json&)>& change) {
  json content = base_tokenizer();
  change(content);
  try {
    read_content(content);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), FailureKind::user);
    return error.what();
  }
  return "no error";
}

TEST(Tokenizer, LongWordsMergeAsTheirNaiveDefinition) {
  // Sennrich et al. 2016, algorithm 1: the pair of least rank, leftmost first, until none is left.
  const json model = base_tokenizer().at("model");
  std::map<std::pair<std::string, std::string>, size_t> ranks;
  for (size_t i = 0; i < model.at("merges").size(); ++i) {
    ranks[{model["merges"][i][0], model["merges"][i][1]}] = i;
  }
  std::mt19937 random(3);
  const auto tokenizer = read_tokenizer(fixtures / "digits");
  for (int trial = 0; trial < 20; ++trial) {
    std::string word;
    for (int i = 0; i < 400; ++i) word += "theinagotrs"[random() % 11];
    std::vector<std::string> symbols;
    for (const char c : word) symbols.emplace_back(1, c);
    for (;;) {
      size_t best = symbols.size(), best_rank = ranks.size();
      for (size_t i = 0; i + 1 < symbols.size(); ++i) {
        const auto found = ranks.find({symbols[i], symbols[i + 1]});
        if (found != ranks.end() && found->second < best_rank) {
          best = i;
          best_rank = found->second;
        }
      }
      if (best == symbols.size()) break;
      symbols[best] += symbols[best + 1];
      symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(best) + 1);
    }
    std::vector<int32_t> expected;
    for (const auto& symbol : symbols) expected.push_back(model.at("vocab").at(symbol));
    EXPECT_EQ(tokenizer->encode(word), expected);
  }
}

TEST(Tokenizer, SpecialTokensFromTheConfig) {
  const auto digits = read_tokenizer(fixtures / "digits");
  EXPECT_EQ(digits->bos_id(), digits->id_of("<|im_start|>"));
  EXPECT_EQ(digits->eos_id(), digits->id_of("<|im_end|>"));
  EXPECT_EQ(digits->chat_template(), "{{ messages }}");
  const auto split = read_tokenizer(fixtures / "split");
  ASSERT_GE(split->bos_id(), 0);
  EXPECT_EQ(split->encode("a").front(), split->bos_id());
  EXPECT_NE(split->encode("a", false).front(), split->bos_id());
  const auto without_config = read_content(base_tokenizer());
  EXPECT_EQ(without_config->bos_id(), -1);
  EXPECT_EQ(without_config->eos_id(), -1);
  EXPECT_EQ(without_config->chat_template(), "");
}

TEST(Tokenizer, ConfigNamesATokenThatIsNone) {
  const TokenizerDirectory directory;
  directory.write("tokenizer.json", base_tokenizer().dump());
  directory.write("tokenizer_config.json", R"({"bos_token": "<begin>"})");
  try {
    read_tokenizer(directory.path());
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("tokenizer_config.json: bos_token: '<begin>' is no token"));
  }
}

TEST(Tokenizer, DecodesIdsPastTheVocabularyAsNothing) {
  const auto tokenizer = read_tokenizer(tiny);
  EXPECT_EQ(tokenizer->vocabulary(), 1024);
  EXPECT_EQ(tokenizer->decode({-1, 5000, tokenizer->id_of("a")}), "a");
}

TEST(Tokenizer, UnknownKindsNameFileAndField) {
  const auto set = [](const char* pointer, json value) {
    return [=](json& content) { content[json::json_pointer(pointer)] = value; };
  };
  EXPECT_THAT(error_of(set("/model/type", "Unigram")),
              HasSubstr("tokenizer.json: model.type: 'Unigram'"));
  EXPECT_THAT(error_of(set("/model/type", "WordPiece")),
              HasSubstr("with byte fallback (as Llama 2)"));
  EXPECT_THAT(error_of(set("/normalizer", {{"type", "NFKC"}})),
              HasSubstr("normalizer.type: 'NFKC'"));
  EXPECT_THAT(error_of(set("/pre_tokenizer", {{"type", "BertPreTokenizer"}})),
              HasSubstr("pre_tokenizer.type: 'BertPreTokenizer'"));
  EXPECT_THAT(
      error_of(set("/pre_tokenizer",
                   {{"type", "Metaspace"}, {"replacement", "_"}, {"prepend_scheme", "last"}})),
      HasSubstr("pre_tokenizer.prepend_scheme: unknown scheme 'last'"));
  EXPECT_THAT(error_of(set("/post_processor", {{"type", "BertProcessing"}})),
              HasSubstr("post_processor.type: 'BertProcessing'"));
  EXPECT_THAT(error_of(set("/decoder", {{"type", "WordPiece"}})),
              HasSubstr("decoder.type: 'WordPiece'"));
  EXPECT_THAT(error_of(set("/model/dropout", 0.1)), HasSubstr("model.dropout"));
  EXPECT_THAT(error_of(set("/model/byte_fallback", true)), HasSubstr("model.byte_fallback"));
  EXPECT_THAT(error_of(set("/model/end_of_word_suffix", "</w>")), HasSubstr("end_of_word_suffix"));
  const json bad_pattern = {
      {"type", "Split"}, {"pattern", {{"Regex", "(a"}}}, {"behavior", "Isolated"}};
  EXPECT_THAT(error_of(set("/pre_tokenizer", bad_pattern)),
              HasSubstr("pre_tokenizer.pattern.Regex: not a regular expression"));
}

TEST(Tokenizer, MalformedFilesNameThePlace) {
  const auto set = [](const char* pointer, json value) {
    return [=](json& content) { content[json::json_pointer(pointer)] = value; };
  };
  EXPECT_THAT(error_of(set("/model/vocab/!", -1)), HasSubstr("model.vocab.!: expected an integer"));
  EXPECT_THAT(error_of(set("/model/vocab/!", 1.5)),
              HasSubstr("model.vocab.!: expected an integer"));
  EXPECT_THAT(error_of(set("/model/vocab/!", int64_t{1} << 40)), HasSubstr("expected an integer"));
  EXPECT_THAT(error_of(set("/model/vocab/!", 7)), HasSubstr("id 7 is given twice"));
  EXPECT_THAT(error_of(set("/model/vocab", json::array())),
              HasSubstr("model.vocab: expected an object"));
  EXPECT_THAT(error_of(set("/model/vocab", json::object())), HasSubstr("model.vocab: is empty"));
  EXPECT_THAT(error_of(set("/model/merges/0", "ab")), HasSubstr("model.merges[0]: expected two"));
  EXPECT_THAT(error_of(set("/model/merges/3", {"zzz", "q"})),
              HasSubstr("model.merges[3]: 'zzz' is not in the vocabulary"));
  EXPECT_THAT(error_of(set("/added_tokens/0/id", 9)), HasSubstr("added_tokens[0].id: is 9"));
  EXPECT_THAT(error_of(set("/added_tokens/0/id", "1")), HasSubstr("added_tokens[0].id: expected"));
  EXPECT_THAT(error_of([](json& content) { content = json::array(); }),
              HasSubstr("expected an object"));
  json past = {{"type", "TemplateProcessing"},
               {"single", {{{"SpecialToken", {{"id", "A"}}}}, {{"Sequence", {{"id", "A"}}}}}},
               {"special_tokens", {{"A", {{"ids", {99999}}}}}}};
  EXPECT_THAT(error_of(set("/post_processor", past)),
              HasSubstr("token id 99999 is past the vocabulary"));
}

TEST(Tokenizer, MissingAndBrokenFiles) {
  const TokenizerDirectory directory;
  EXPECT_THROW(read_tokenizer(directory.path()), Error);
  directory.write("tokenizer.json", R"({"model": {)");
  try {
    read_tokenizer(directory.path());
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("tokenizer.json: not JSON: at byte"));
  }
  directory.write("tokenizer.json", "");
  EXPECT_THROW(read_tokenizer(directory.path()), Error);
}

TEST(ByteTokenizer, IdsAreBytes) {
  const auto tokenizer = byte_tokenizer();
  EXPECT_EQ(tokenizer->encode("aé"), (std::vector<int32_t>{97, 0xC3, 0xA9}));
  EXPECT_EQ(tokenizer->decode({97, 0xC3, 0xA9}), "aé");
  EXPECT_EQ(tokenizer->decode({0xC3}), "\xEF\xBF\xBD");
  EXPECT_EQ(tokenizer->bos_id(), -1);
}

}  // namespace
}  // namespace ropesweep::llama
