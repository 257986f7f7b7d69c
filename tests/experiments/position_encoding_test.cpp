// Schemes against 50-digit arithmetic, against transformers to the last bit, and their golden
// values. Fixtures: tests/reference/rope_fixtures.py.
#include "experiments/position_encoding.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "experiments/error.h"
#include "experiments/schemes/float32_arithmetic.h"

namespace ropesweep {
namespace {

nlohmann::json fixture(const std::string& name) {
  std::ifstream stream(ROPESWEEP_SOURCE_DIR "/tests/reference/rope/" + name);
  return nlohmann::json::parse(stream);
}

/// With the fixtures' made-up longrope factors.
RotaryShape shape_of(const nlohmann::json& item) {
  RotaryShape shape = {item.at("head_dim"), item.at("base"), item.at("original_length")};
  const double pairs = static_cast<double>(shape.head_dim / 2);
  for (int64_t i = 0; i < shape.head_dim / 2; ++i) {
    shape.short_factor.push_back(1.0 + 0.5 * static_cast<double>(i) / pairs);
    shape.long_factor.push_back(1.0 + 31.0 * static_cast<double>(i) / pairs);
  }
  return shape;
}

std::string label(const nlohmann::json& item) {
  return fmt::format("{} scale {} d {} b {}", item.at("scheme").get<std::string>(),
                     item.at("scale").get<double>(), item.at("head_dim").get<int64_t>(),
                     item.at("base").get<double>());
}

/// At most one step between neighbouring floats apart.
bool within_one_ulp(float a, float b) { return a == b || std::nextafter(a, b) == b; }

TEST(PositionEncoding, FrequenciesAgreeWithFiftyDigits) {
  const nlohmann::json cases = fixture("exact.json");
  ASSERT_GE(cases.size(), 156U);
  for (const nlohmann::json& item : cases) {
    const auto encoding = make_position_encoding(item.at("scheme").get<std::string>(),
                                                 item.at("scale"), shape_of(item));
    const FrequencyMap map = encoding->map(item.at("length"));
    const auto expected = item.at("inv_freq").get<std::vector<double>>();
    ASSERT_EQ(map.inv_freq.size(), expected.size());
    for (size_t i = 0; i < expected.size(); ++i) {
      EXPECT_TRUE(
          within_one_ulp(static_cast<float>(map.inv_freq[i]), static_cast<float>(expected[i])))
          << label(item) << " pair " << i;
      EXPECT_NEAR(map.inv_freq[i], expected[i], 1e-14 * std::abs(expected[i]));
    }
    EXPECT_DOUBLE_EQ(map.query_amplitude, item.at("attention_factor").get<double>());
    EXPECT_EQ(map.query_amplitude, map.key_amplitude);
  }
}

TEST(PositionEncoding, TablesAgreeWithFiftyDigits) {
  size_t compared = 0;
  for (const nlohmann::json& item : fixture("exact.json")) {
    if (!item.contains("positions")) continue;
    const auto encoding = make_position_encoding(item.at("scheme").get<std::string>(),
                                                 item.at("scale"), shape_of(item));
    const size_t pair = item.at("pair");
    for (size_t i = 0; i < item.at("positions").size(); ++i) {
      const int64_t position = item.at("positions")[i];
      const RotaryTable table = encoding->table(position, 1, item.at("length"));
      // An angle of m radians in double has an error of m·2⁻⁵³, far below a float's step near 1.
      const double tolerance = 0x1p-24 + static_cast<double>(position) * 0x1p-51;
      EXPECT_NEAR(table.query_cos[pair], item.at("cos")[i].get<double>(), tolerance) << label(item);
      EXPECT_NEAR(table.query_sin[pair], item.at("sin")[i].get<double>(), tolerance) << label(item);
      EXPECT_EQ(table.query_cos[pair], table.key_cos[pair]);
      ++compared;
    }
  }
  EXPECT_GE(compared, 80U);
}

TEST(PositionEncoding, TableRowsArePositions) {
  const auto encoding = make_position_encoding("yarn", 4, {32, 10000, 256});
  const RotaryTable whole = encoding->table(0, 10, 10);
  const RotaryTable rest = encoding->table(7, 3, 10);
  ASSERT_EQ(whole.query_cos.size(), 160U);
  for (size_t i = 0; i < rest.key_sin.size(); ++i) {
    EXPECT_EQ(rest.key_sin[i], whole.key_sin[7 * 16 + i]);
    EXPECT_EQ(rest.query_cos[i], whole.query_cos[7 * 16 + i]);
  }
}

std::vector<float> float_bits(const std::string& hex) {
  std::vector<float> values;
  for (size_t at = 0; at < hex.size(); at += 8) {
    const auto bits = static_cast<uint32_t>(std::stoul(hex.substr(at, 8), nullptr, 16));
    values.push_back(std::bit_cast<float>(bits));
  }
  return values;
}

/// The cases of this machine's PyTorch: AVX2's list holds what differs from AVX-512's.
nlohmann::json hugging_face_cases(int64_t chunk) {
  nlohmann::json both = fixture("hugging_face.json");
  nlohmann::json cases = both.at("avx512");
  if (chunk != 16) return cases;
  for (nlohmann::json& item : cases) {
    for (const nlohmann::json& other : both.at("avx2")) {
      if (label(other) == label(item) && other.at("length") == item.at("length")) item = other;
    }
  }
  return cases;
}

TEST(PositionEncoding, HuggingFaceBitsAreTransformers) {
  const int64_t chunk = schemes::float32_chunk();
  if (chunk < 16) GTEST_SKIP() << "the fixture is of x86";
  for (const nlohmann::json& item : hugging_face_cases(chunk)) {
    const auto encoding =
        make_position_encoding(item.at("scheme").get<std::string>(), item.at("scale"),
                               shape_of(item), TableArithmetic::hugging_face);
    const FrequencyMap map = encoding->map(item.at("length"));
    const std::vector<float> expected = float_bits(item.at("inv_freq"));
    ASSERT_EQ(map.inv_freq.size(), expected.size());
    for (size_t i = 0; i < expected.size(); ++i) {
      EXPECT_EQ(map.inv_freq[i], static_cast<double>(expected[i])) << label(item) << " pair " << i;
    }
    EXPECT_EQ(map.query_amplitude, item.at("attention_factor").get<double>()) << label(item);
  }
}

TEST(PositionEncoding, PowersFollowBothVectorWidths) {
  for (const int64_t chunk : {16, 32}) {
    size_t compared = 0;
    for (const nlohmann::json& item : hugging_face_cases(chunk)) {
      if (item.at("scheme") != "none") continue;
      const std::vector<float> wavelengths =
          schemes::float32_wavelengths(item.at("head_dim"), item.at("base").get<float>(), chunk);
      const std::vector<float> expected = float_bits(item.at("inv_freq"));
      for (size_t i = 0; i < expected.size(); ++i) {
        EXPECT_EQ(1.0F / wavelengths[i], expected[i]) << label(item) << " chunk " << chunk;
        ++compared;
      }
    }
    EXPECT_GE(compared, 800U);
  }
}

TEST(PositionEncoding, YarnGoldenValues) {
  const RotaryShape llama = {128, 10000, 4096};
  const auto encoding = make_position_encoding("yarn", 16, llama);
  const FrequencyMap map = encoding->map(4096);
  const auto base = make_position_encoding("none", 1, llama)->map(4096).inv_freq;
  EXPECT_NEAR(map.query_amplitude, 1.27726, 5e-6);
  EXPECT_NEAR(map.query_amplitude * map.key_amplitude, 1.63139, 5e-6);
  // The ramp runs from pair 20 (kept) to pair 46 (divided by the scale).
  EXPECT_DOUBLE_EQ(map.inv_freq[20], base[20]);
  EXPECT_LT(map.inv_freq[21], base[21]);
  EXPECT_GT(map.inv_freq[45], base[45] / 16);
  EXPECT_DOUBLE_EQ(map.inv_freq[46], base[46] / 16);
}

TEST(PositionEncoding, YarnRampAtTwoThousand) {
  const RotaryShape llama = {128, 10000, 2048};
  const auto map = make_position_encoding("yarn", 4, llama)->map(2048).inv_freq;
  const auto base = make_position_encoding("none", 1, llama)->map(2048).inv_freq;
  EXPECT_DOUBLE_EQ(map[16], base[16]);
  EXPECT_LT(map[17], base[17]);
  EXPECT_GT(map[40], base[40] / 4);
  EXPECT_DOUBLE_EQ(map[41], base[41] / 4);
}

TEST(PositionEncoding, TruncatedGoldenCounts) {
  const RotaryShape llama = {128, 10000, 2048};
  const auto map = make_position_encoding("truncated(2048)", 1, llama)->map(2048).inv_freq;
  const auto base = make_position_encoding("none", 1, llama)->map(2048).inv_freq;
  int64_t kept = 0, floored = 0, zero = 0;
  for (size_t i = 0; i < map.size(); ++i) {
    if (map[i] == base[i]) ++kept;
    if (map[i] == 0) ++zero;
    if (map[i] != 0 && map[i] != base[i]) ++floored;
  }
  EXPECT_EQ(kept, 41);
  EXPECT_EQ(floored, 14);
  EXPECT_EQ(zero, 9);
  EXPECT_EQ(make_position_encoding("truncated", 1, llama)->map(1).inv_freq, map);
}

TEST(PositionEncoding, ScaleOneOfStaticSchemesIsTheBaseModel) {
  const RotaryShape shape = {64, 10000, 512};
  const auto base = make_position_encoding("none", 1, shape)->map(512);
  for (const char* scheme : {"linear", "ntk", "yarn", "yarn(attention_factor=2)", "llama3",
                             "ntk-by-parts", "p-rope(1, yarn)"}) {
    const auto encoding = make_position_encoding(scheme, 1, shape);
    EXPECT_EQ(encoding->map(512).inv_freq, base.inv_freq) << scheme;
    EXPECT_EQ(encoding->map(512).query_amplitude, 1.0) << scheme;
    EXPECT_EQ(encoding->scheme(), canonical_scheme(scheme));
  }
}

TEST(PositionEncoding, NtkDividesTheLowestFrequencyByTheScale) {
  const RotaryShape shape = {64, 10000, 512};
  const auto base = make_position_encoding("none", 1, shape)->map(512).inv_freq;
  const auto ntk = make_position_encoding("ntk", 8, shape)->map(512).inv_freq;
  EXPECT_DOUBLE_EQ(ntk.front(), base.front());
  EXPECT_NEAR(ntk.back(), base.back() / 8, 1e-15);
}

TEST(PositionEncoding, DynamicNtkFollowsTheLength) {
  const RotaryShape shape = {64, 10000, 512};
  const auto dynamic = make_position_encoding("dynamic-ntk", 2, shape);
  const auto base = make_position_encoding("none", 1, shape)->map(512).inv_freq;
  EXPECT_TRUE(dynamic->depends_on_length());
  EXPECT_EQ(dynamic->map(100).inv_freq, base);
  EXPECT_EQ(dynamic->map(512).inv_freq, base);
  EXPECT_LT(dynamic->map(513).inv_freq.back(), base.back());
  EXPECT_EQ(dynamic->map(300).inv_freq, base) << "a shorter sequence shrinks the base again";
  // f·L/L0 − (f − 1) = 3 at L = 2·L0 with f = 2: the same as ntk at scale 3.
  EXPECT_EQ(dynamic->map(1024).inv_freq, make_position_encoding("ntk", 3, shape)->map(0).inv_freq);
  const auto fixed = make_position_encoding("dynamic-ntk(factor=2)", 1, shape);
  EXPECT_EQ(fixed->map(1024).inv_freq, dynamic->map(1024).inv_freq);
}

TEST(PositionEncoding, WrongRequestsAreUserErrors) {
  const auto failure = [](const char* scheme, double scale, RotaryShape shape) -> std::string {
    try {
      make_position_encoding(scheme, scale, shape);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), FailureKind::user);
      return error.what();
    }
    return "no error";
  };
  EXPECT_EQ(failure("linear", 0.5, {}), "a scale must be a number of at least 1, not 0.5");
  EXPECT_EQ(failure("linear", std::nan(""), {}), "a scale must be a number of at least 1, not nan");
  EXPECT_EQ(failure("none", 1, {63, 10000, 4096}),
            "a head dimension must be even and at least 4, not 63");
  EXPECT_EQ(failure("none", 1, {64, 1, 4096}), "a rotary base must be greater than 1, not 1");
  EXPECT_EQ(failure("none", 1, {64, 10000, 0}),
            "an original length must be at least 1 token, not 0");
  EXPECT_EQ(failure("linear", 1e7, {}), "a scale must be at most 1e+06, not 1e+07");
  EXPECT_EQ(failure("linear", 2, {.original_length = 1e300}),
            "an original length must be at most 1e+12 tokens, not 1e+300");
  EXPECT_NE(failure("linear", 2, {.rotary_fraction = 1e300}), "no error");
}

}  // namespace
}  // namespace ropesweep
