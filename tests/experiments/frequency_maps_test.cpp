// Tables of every rope type against transformers' over many shapes and scales, and what maps made
// of other maps, of files and of checkpoints must hold. Fixtures: tests/reference/rope_fixtures.py.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <bit>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numbers>
#include <sstream>

#include "experiments/error.h"
#include "experiments/grid.h"
#include "experiments/position_encoding.h"
#include "experiments/schemes/float32_arithmetic.h"

namespace ropesweep {
namespace {

using testing::HasSubstr;

/// The fixtures' made-up longrope factors.
RotaryShape with_factors(RotaryShape shape) {
  const double pairs = static_cast<double>(shape.head_dim / 2);
  for (int64_t i = 0; i < shape.head_dim / 2; ++i) {
    shape.short_factor.push_back(1.0 + 0.5 * static_cast<double>(i) / pairs);
    shape.long_factor.push_back(1.0 + 31.0 * static_cast<double>(i) / pairs);
  }
  return shape;
}

/// The beginning of the SHA-256 of the values as little-endian floats.
std::string hash_of(const std::vector<double>& frequencies) {
  std::string bytes;
  for (const double frequency : frequencies) {
    const auto bits = std::bit_cast<uint32_t>(static_cast<float>(frequency));
    for (int shift = 0; shift < 32; shift += 8) bytes += static_cast<char>((bits >> shift) & 0xff);
  }
  return sha256_hex(bytes).substr(0, 12);
}

TEST(FrequencyMaps, TablesOfAllRopeTypesAreTransformersToTheLastBit) {
  const int64_t chunk = schemes::float32_chunk();
  if (chunk < 16) GTEST_SKIP() << "the fixture is of x86";
  std::ifstream stream(ROPESWEEP_SOURCE_DIR "/tests/reference/rope/hugging_face_hashes.json");
  const nlohmann::json cases = nlohmann::json::parse(stream).at(chunk == 16 ? "avx2" : "avx512");
  size_t compared = 0;
  for (const nlohmann::json& item : cases) {
    const std::string scheme = item.at("scheme");
    std::istringstream hashes(item.at("hashes").get<std::string>());
    for (const int64_t dim : {32, 64, 96, 128, 256}) {
      for (const double base : {1e4, 5e5, 1e6}) {
        RotaryShape shape = with_factors({dim, base, 4096});
        shape.rotary_fraction = item.at("rotary_fraction");
        const auto encoding =
            make_position_encoding(scheme, item.at("scale"), shape, TableArithmetic::hugging_face);
        const FrequencyMap map = encoding->map(item.at("length"));
        std::string expected;
        hashes >> expected;
        EXPECT_EQ(hash_of(map.inv_freq), expected)
            << scheme << " scale " << item.at("scale") << " length " << item.at("length")
            << " share " << shape.rotary_fraction << " d " << dim << " b " << base;
        EXPECT_EQ(map.query_amplitude, item.at("attention_factor").get<double>()) << scheme;
        ++compared;
      }
    }
  }
  EXPECT_GE(compared, 1600U);
}

/// Both arithmetics agree as far as float32 goes, for every scheme.
TEST(FrequencyMaps, HfBitsAreNearTheExactValues) {
  const RotaryShape shape = with_factors({64, 10000, 1024});
  for (const SchemeInfo& scheme : all_schemes()) {
    if (scheme.name == "file") continue;
    if (scheme.name == "partial") continue;  // 16 elements: other factors
    const auto exact = make_position_encoding(scheme.name, 4, shape)->map(3000);
    const auto single =
        make_position_encoding(scheme.name, 4, shape, TableArithmetic::hugging_face)->map(3000);
    for (size_t i = 0; i < exact.inv_freq.size(); ++i) {
      EXPECT_NEAR(single.inv_freq[i], exact.inv_freq[i], 1e-6 * exact.inv_freq[i])
          << scheme.name << " pair " << i;
    }
  }
}

TEST(FrequencyMaps, LongropeGoldenAmplitudeAndItsTwoLists) {
  const RotaryShape shape = with_factors({128, 10000, 4096});
  const auto encoding = make_position_encoding("longrope", 32, shape);
  const auto base = make_position_encoding("none", 1, shape)->map(1).inv_freq;
  EXPECT_NEAR(encoding->map(1).query_amplitude, 1.19024, 5e-6);
  EXPECT_TRUE(encoding->depends_on_length());
  EXPECT_DOUBLE_EQ(encoding->map(4096).inv_freq[63], base[63] / shape.short_factor[63]);
  EXPECT_DOUBLE_EQ(encoding->map(4097).inv_freq[63], base[63] / shape.long_factor[63]);
  RotaryShape own = shape;
  own.attention_factor = 1.5;
  EXPECT_EQ(make_position_encoding("longrope", 32, own)->map(1).key_amplitude, 1.5);
  EXPECT_EQ(make_position_encoding("longrope(attention_factor=2)", 32, own)->map(1).key_amplitude,
            2);
}

TEST(FrequencyMaps, Llama3KeepsDividesAndBlends) {
  const RotaryShape shape = {128, 500000, 8192};
  const auto map = make_position_encoding("llama3", 8, shape)->map(1).inv_freq;
  const auto base = make_position_encoding("none", 1, shape)->map(1).inv_freq;
  for (size_t i = 0; i < base.size(); ++i) {
    const double turns = 8192 * base[i] / (2 * std::numbers::pi);
    const double least = turns > 4 ? base[i] : base[i] / 8;
    const double most = turns < 1 ? base[i] / 8 : base[i];
    EXPECT_GE(map[i], least) << i;
    EXPECT_LE(map[i], most) << i;
  }
}

TEST(FrequencyMaps, ResonanceMakesWholeWavelengths) {
  const auto map = make_position_encoding("resonance(yarn)", 8, {128, 10000, 4096})->map(1);
  for (const double frequency : map.inv_freq) {
    const double wavelength = 2 * std::numbers::pi / frequency;
    EXPECT_NEAR(wavelength, std::round(wavelength), 1e-9 * wavelength);
  }
  EXPECT_EQ(map.inv_freq[0], 2 * std::numbers::pi / 6);
  EXPECT_NEAR(map.query_amplitude, 0.1 * std::log(8.0) + 1, 1e-15) << "of the map inside";
}

TEST(FrequencyMaps, SharesOfPairsAndOfElements) {
  const RotaryShape shape = {64, 10000, 512};
  const auto base = make_position_encoding("none", 1, shape)->map(1).inv_freq;
  const auto half = make_position_encoding("p-rope(0.5)", 1, shape)->map(1).inv_freq;
  ASSERT_EQ(half.size(), 32U);
  for (size_t i = 0; i < 32; ++i) EXPECT_EQ(half[i], i < 16 ? base[i] : 0);
  for (const double zero : make_position_encoding("nope", 1, shape)->map(1).inv_freq) {
    EXPECT_EQ(zero, 0);
  }
  const auto partial = make_position_encoding("partial(0.5, yarn)", 4, shape);
  const auto whole = make_position_encoding("yarn", 4, {32, 10000, 512})->map(1);
  EXPECT_EQ(partial->map(1).inv_freq, whole.inv_freq);
  EXPECT_EQ(partial->shape().head_dim, 64);
  EXPECT_EQ(partial->table(0, 3, 3).pairs, 16);
  RotaryShape own = shape;  // a checkpoint that is partial itself
  own.rotary_fraction = 0.5;
  EXPECT_EQ(make_position_encoding("yarn", 4, own)->map(1).inv_freq, whole.inv_freq);
  EXPECT_EQ(make_position_encoding("partial(0.5)", 4, own)->map(1).inv_freq.size(), 8U);
}

TEST(FrequencyMaps, PowerDividesByTheScaleWhereAsked) {
  const RotaryShape shape = {64, 10000, 512};
  const auto plain = make_position_encoding("power(0.5)", 1, shape)->map(1).inv_freq;
  const auto scaled = make_position_encoding("power(0.5, scaled=true)", 4, shape)->map(1).inv_freq;
  for (size_t i = 0; i < plain.size(); ++i) EXPECT_DOUBLE_EQ(scaled[i], plain[i] / 4);
  EXPECT_EQ(make_position_encoding("power(0.5)", 4, shape)->map(1).inv_freq, plain);
  EXPECT_EQ(make_position_encoding("power(0.5, scaled=true)", 1, shape)->map(1).inv_freq, plain);
}

TEST(FrequencyMaps, DynamicMapsAreTheBaseModelUpToTheOriginalLengthAndFollowPastIt) {
  const RotaryShape shape = {64, 10000, 512};
  const auto base = make_position_encoding("none", 1, shape)->map(1);
  for (const char* scheme : {"linear", "yarn"}) {
    const auto dynamic = make_position_encoding(fmt::format("dynamic-{}", scheme), 1, shape);
    EXPECT_TRUE(dynamic->depends_on_length());
    for (const int64_t length : {1, 512}) {
      EXPECT_EQ(dynamic->map(length).inv_freq, base.inv_freq) << scheme;
      EXPECT_EQ(dynamic->map(length).query_amplitude, 1) << scheme;
    }
    const FrequencyMap fixed = make_position_encoding(scheme, 3, shape)->map(1);
    EXPECT_EQ(dynamic->map(1536).inv_freq, fixed.inv_freq) << scheme;
    EXPECT_EQ(dynamic->map(1536).query_amplitude, fixed.query_amplitude) << scheme;
    EXPECT_EQ(dynamic->map(100).inv_freq, base.inv_freq) << "shrinks again";
  }
}

class FrequencyFiles : public testing::Test {
 protected:
  FrequencyFiles() {
    folder_ = std::filesystem::temp_directory_path() / fmt::format("ropesweep-maps-{}", getpid());
    std::filesystem::create_directories(folder_);
  }
  ~FrequencyFiles() override { std::filesystem::remove_all(folder_); }

  std::string write(const std::string& name, const std::string& content) const {
    std::ofstream(folder_ / name, std::ios::binary) << content;
    return (folder_ / name).string();
  }

  static std::string failure(const std::string& scheme, const RotaryShape& shape = {8, 1e4, 64}) {
    try {
      make_position_encoding(scheme, 2, shape);
      make_position_encoding(scheme, 2, shape)->map(1);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), FailureKind::user);
      return error.what();
    }
    return "no error";
  }

  std::filesystem::path folder_;
};

TEST_F(FrequencyFiles, JsonAndLinesAreTheSame) {
  const std::vector<double> values = {1, 0.1, 1e-3, 0};
  const RotaryShape shape = {8, 10000, 64};
  const std::string json =
      write("a.json", R"({"inv_freq": [1, 0.1, 1e-3, 0.0], "attention_factor": 1.25})");
  const auto encoding = make_position_encoding("file(" + json + ")", 4, shape);
  EXPECT_EQ(encoding->map(1).inv_freq, values);
  EXPECT_EQ(encoding->map(1).query_amplitude, 1.25);
  EXPECT_EQ(encoding->scale(), 1) << "it has none";
  const std::string lines = write("a.txt", "1\n 0.1\r\n\n1e-3\n0");
  EXPECT_EQ(make_position_encoding("file(" + lines + ")", 4, shape)->map(1).inv_freq, values);
  const std::string list = write("list.json", "[1, 0.1, 0.001, 0]");
  EXPECT_EQ(make_position_encoding("file(" + list + ")", 4, shape)->map(1).inv_freq, values);
}

TEST_F(FrequencyFiles, FactorsComeFromAFileOrFromAConfig) {
  const RotaryShape shape = {8, 10000, 64};
  const std::string keys = R"("short_factor": [1, 1, 1, 1], "long_factor": [1, 2, 4, 8])";
  const std::string plain = write("plain.json", "{" + keys + "}");
  const std::string config = write("config.json", R"({"rope_scaling": {)" + keys + "}}");
  const auto base = make_position_encoding("none", 1, shape)->map(1).inv_freq;
  for (const std::string& file : {plain, config}) {
    const auto encoding = make_position_encoding("longrope(file=" + file + ")", 4, shape);
    EXPECT_EQ(encoding->map(64).inv_freq, base);
    EXPECT_EQ(encoding->map(65).inv_freq[3], base[3] / 8);
  }
}

TEST_F(FrequencyFiles, WrongFilesAreNamedWithThePlace) {
  const std::string missing = (folder_ / "none.json").string();
  EXPECT_THAT(failure("file(" + missing + ")"), HasSubstr(missing));
  const std::string few = write("few.txt", "1\n2\n");
  EXPECT_THAT(failure("file(" + few + ")"), HasSubstr("2 frequencies (inv_freq)"));
  const std::string word = write("word.txt", "1\ntwo\n");
  EXPECT_THAT(failure("file(" + word + ")"), HasSubstr("word.txt:2: "));
  const std::string negative = write("negative.json", R"({"inv_freq": [1, -1, 1, 1]})");
  EXPECT_THAT(failure("file(" + negative + ")"), HasSubstr("inv_freq[1]"));
  const std::string broken = write("broken.json", R"({"inv_freq": [1,)");
  EXPECT_THAT(failure("file(" + broken + ")"), HasSubstr("not valid JSON"));
  EXPECT_THAT(failure("file(" + write("empty", "\n") + ")"), HasSubstr("empty"));
  EXPECT_THAT(failure("longrope(file=" + few + ")"), HasSubstr("short_factor holds 0 numbers"));
  EXPECT_THAT(failure("longrope"), HasSubstr("longrope(file=PATH)"));
  EXPECT_THAT(failure("partial(0.1)"), HasSubstr("must be even and at least 4"));
  EXPECT_THAT(failure("ntk-by-parts(alpha=32, beta=1)"), HasSubstr("greater than alpha"));
  EXPECT_THAT(failure("llama3(4, 1)"), HasSubstr("greater than low_freq_factor"));
}

}  // namespace
}  // namespace ropesweep
