// Ids and texts by each kind of tokenizer against the reference packages
// (tests/reference/tokenizer_fixtures.py).
#include <gtest/gtest.h>

#include <array>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "tests/worker/llama/tokenizer_fixtures.h"

namespace ropesweep::llama {
namespace {

using nlohmann::json;

/// Where the lines and their checksums are: the fixtures, or what tokenizer_fixtures.py --long
/// made.
std::filesystem::path lines_directory() {
  const char* const given = std::getenv("ROPESWEEP_TOKENIZER_LINES");
  return given == nullptr ? fixtures : std::filesystem::path(given);
}

std::vector<std::string> mixed_lines(const std::filesystem::path& directory = fixtures) {
  const std::string bytes = read_whole_file(directory / "lines.bin");
  std::vector<std::string> lines;
  for (size_t at = 0; at + 2 <= bytes.size();) {
    const auto low = static_cast<unsigned char>(bytes[at]);
    const auto high = static_cast<unsigned char>(bytes[at + 1]);
    const size_t length = low + 256u * high;
    lines.push_back(bytes.substr(at + 2, length));
    at += 2 + length;
  }
  return lines;
}

/// CRC-32 (ISO 3309) of more bytes after those of `value`.
uint32_t crc32(std::string_view bytes, uint32_t value = 0) {
  static const std::array<uint32_t, 256> table = [] {
    std::array<uint32_t, 256> remainders{};
    for (uint32_t byte = 0; byte < 256; ++byte) {
      uint32_t rest = byte;
      for (int bit = 0; bit < 8; ++bit) rest = (rest >> 1) ^ ((rest & 1) != 0 ? 0xEDB88320u : 0);
      remainders.at(byte) = rest;
    }
    return remainders;
  }();
  value = ~value;
  for (const char c : bytes) {
    value = (value >> 8) ^ table.at((value ^ static_cast<unsigned char>(c)) & 0xFF);
  }
  return ~value;
}

/// Of the ids, their decoding without special tokens, and the one with them.
uint32_t checksum(const Tokenizer& tokenizer, const std::string& line) {
  const auto ids = tokenizer.encode(line);
  const std::string_view bytes(reinterpret_cast<const char*>(ids.data()), 4 * ids.size());
  return crc32(tokenizer.decode(ids, false), crc32(tokenizer.decode(ids), crc32(bytes)));
}

uint32_t expected_checksum(const std::string& checksums, size_t line) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i) {
    value |= static_cast<uint32_t>(static_cast<unsigned char>(checksums.at(4 * line + i)))
             << (8 * i);
  }
  return value;
}

struct Case {
  const char* name;
  std::filesystem::path directory;
};

class MixedText : public testing::TestWithParam<Case> {};

TEST_P(MixedText, EqualsTheLibrary) {
  const auto tokenizer = read_tokenizer(GetParam().directory);
  const std::string checksums =
      read_whole_file(lines_directory() / (GetParam().name + std::string(".crc")));
  const auto lines = mixed_lines(lines_directory());
  ASSERT_GE(lines.size(), 10000u);
  ASSERT_EQ(checksums.size(), 4 * lines.size());
  size_t wrong = 0;
  for (size_t i = 0; i < lines.size(); ++i) {
    if (checksum(*tokenizer, lines[i]) == expected_checksum(checksums, i)) continue;
    ++wrong;
    if (wrong <= 5) {
      ADD_FAILURE() << "line " << i << ": " << testing::PrintToString(lines[i])
                    << testing::PrintToString(tokenizer->encode(lines[i]));
    }
  }
  EXPECT_EQ(wrong, 0u);
}

TEST_P(MixedText, SamplesEncodeAndDecodeAsInTheLibrary) {
  const auto tokenizer = read_tokenizer(GetParam().directory);
  const auto lines = mixed_lines();
  const json samples = read_json_file(fixtures / "samples.json").at(GetParam().name);
  ASSERT_EQ(samples.size(), 20u);
  for (const json& sample : samples) {
    const auto ids = sample.at("ids").get<std::vector<int32_t>>();
    EXPECT_EQ(tokenizer->encode(lines.at(sample.at("line").get<size_t>())), ids);
    EXPECT_EQ(tokenizer->decode(ids), sample.at("text").get<std::string>());
    EXPECT_EQ(tokenizer->decode(ids, false), sample.at("with_special").get<std::string>());
  }
}

INSTANTIATE_TEST_SUITE_P(Tokenizer, MixedText,
                         testing::Values(Case{"digits", fixtures / "digits"},
                                         Case{"split", fixtures / "split"}, Case{"tiny", tiny},
                                         Case{"qwen2", fixtures / "qwen2"},
                                         Case{"neox", fixtures / "neox"},
                                         Case{"llama2", fixtures / "llama2"},
                                         Case{"metaspace", fixtures / "metaspace"},
                                         Case{"sentencepiece", fixtures / "sentencepiece"},
                                         Case{"squeezed", fixtures / "squeezed"}),
                         [](const auto& test) { return std::string(test.param.name); });

TEST(Tokenizer, VariantsEqualTheLibrary) {
  const json variants = read_json_file(fixtures / "variants.json");
  ASSERT_GT(variants.size(), 40u);
  for (const json& variant : variants) {
    json content = base_tokenizer(variant.at("base"));
    content.merge_patch(variant.at("patch"));
    const auto tokenizer = read_content(content);
    for (const json& text : variant.at("texts")) {
      const auto ids = text.at("ids").get<std::vector<int32_t>>();
      EXPECT_EQ(tokenizer->encode(text.at("text").get<std::string>()), ids)
          << variant.at("name") << ": '" << text.at("text").get<std::string>() << "'";
      EXPECT_EQ(tokenizer->decode(ids), text.at("decoded").get<std::string>())
          << variant.at("name") << ": '" << text.at("text").get<std::string>() << "'";
    }
  }
}

}  // namespace
}  // namespace ropesweep::llama
