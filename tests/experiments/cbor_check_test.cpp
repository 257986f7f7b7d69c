// CBOR from outside: what is_plain_cbor lets through, and that what it refuses would have hurt.
#include "experiments/cbor_check.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>

namespace ropesweep {
namespace {

using Bytes = std::vector<uint8_t>;

TEST(CborCheck, PassesWhatWeWrite) {
  const nlohmann::json values = {
      1,
      -1,
      1.5,
      1e300,
      true,
      nullptr,
      "text",
      std::string(70000, 'x'),
      nlohmann::json::array(),
      nlohmann::json::object(),
      {{"a", {1, 2, {{"b", "c"}}}}, {"d", INT64_MIN}, {"e", UINT64_MAX}}};
  EXPECT_TRUE(is_plain_cbor(nlohmann::json::to_cbor(values), 8));
}

TEST(CborCheck, RefusesWhatIsCutOrFollowed) {
  const Bytes whole = nlohmann::json::to_cbor({{"a", {1, 2.5, "three"}}, {"b", 300}});
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_FALSE(is_plain_cbor(std::span(whole).first(size), 8)) << size;
  }
  Bytes longer = whole;
  longer.push_back(0);
  EXPECT_FALSE(is_plain_cbor(longer, 8));
}

TEST(CborCheck, CountsDepth) {
  nlohmann::json value = 1;
  for (int depth = 1; depth <= 6; ++depth) {
    value = nlohmann::json::array({value});
    EXPECT_TRUE(is_plain_cbor(nlohmann::json::to_cbor(value), depth)) << depth;
    EXPECT_FALSE(is_plain_cbor(nlohmann::json::to_cbor(value), depth - 1)) << depth;
  }
  EXPECT_FALSE(is_plain_cbor(Bytes(5'000'000, 0x81), 64));
}

TEST(CborCheck, RefusesLengthsThatAreNotThere) {
  EXPECT_FALSE(is_plain_cbor(Bytes{0x9b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, 8));
  EXPECT_FALSE(is_plain_cbor(Bytes{0xbb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, 8));
  EXPECT_FALSE(is_plain_cbor(Bytes{0x7b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 'a'}, 8));
  EXPECT_FALSE(is_plain_cbor(Bytes{0x84, 0x01, 0x02}, 8));
}

TEST(CborCheck, RefusesIndefiniteLengthsAndTags) {
  EXPECT_FALSE(is_plain_cbor(Bytes{0x7f, 0x61, 'a', 0xff}, 8));
  EXPECT_FALSE(is_plain_cbor(Bytes{0x9f, 0x01, 0xff}, 8));
  EXPECT_FALSE(is_plain_cbor(Bytes{0xbf, 0xff}, 8));
  EXPECT_FALSE(is_plain_cbor(Bytes{0xc0, 0x01}, 8));
  EXPECT_FALSE(is_plain_cbor(Bytes(3'000'000, 0x7f), 64));  // the parser would recurse as deep
}

/// Whatever passes is parsed without a crash: to a value, or to the parser's own error.
TEST(CborCheck, WhatPassesCanBeParsed) {
  std::mt19937 random(7);
  const Bytes seed =
      nlohmann::json::to_cbor({{"a", {1, 2.5, "three", nullptr}}, {"b", {{"c", 70000}}}});
  int passed = 0;
  for (int i = 0; i < 20000; ++i) {
    Bytes bytes = seed;
    for (int change = 0; change < 3; ++change) {
      bytes[random() % bytes.size()] = static_cast<uint8_t>(random());
    }
    if (!is_plain_cbor(bytes, 8)) continue;
    ++passed;
    const nlohmann::json parsed = nlohmann::json::from_cbor(bytes, true, false);
    EXPECT_TRUE(parsed.is_discarded() ||
                !parsed.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).empty());
  }
  EXPECT_GT(passed, 100);
}

}  // namespace
}  // namespace ropesweep
