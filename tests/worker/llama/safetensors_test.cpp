// Safetensors files: what is written reads back; nothing malformed is believed.
#include "worker/llama/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cstring>
#include <limits>

#include "experiments/error.h"
#include "tests/worker/llama/fixtures.h"
#include "worker/llama/number_formats.h"

namespace ropesweep::llama {
namespace {

using testing::HasSubstr;

/// A file of this header and so many bytes of data.
std::string file_of(const std::string& header, size_t data_bytes) {
  uint64_t length = header.size();
  std::string bytes(sizeof(length), '\0');
  std::memcpy(bytes.data(), &length, sizeof(length));
  return bytes + header + std::string(data_bytes, '\1');
}

std::string error_of(const std::string& bytes) {
  TemporaryFolder folder;
  write_bytes(folder / "bad.safetensors", bytes);
  try {
    const SafetensorsReader reader(folder / "bad.safetensors");
    for (const std::string& name : reader.names()) reader.tensor(name);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), FailureKind::user);
    EXPECT_THAT(error.what(), HasSubstr("bad.safetensors"));
    return error.what();
  }
  return "no error";
}

std::string entry(const std::string& name, const std::string& dtype, const std::string& shape,
                  const std::string& offsets) {
  return "\"" + name + R"(":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" +
         offsets + "}";
}

TEST(Safetensors, AGoodFileHasNoError) {
  const std::string header = "{" + entry("a", "F32", "[2,2]", "[0,16]") + "," +
                             entry("b", "BF16", "[3]", "[16,22]") + "," +
                             entry("scalar", "F16", "[]", "[22,24]") + "}";
  EXPECT_EQ(error_of(file_of(header, 24)), "no error");
}

TEST(Safetensors, MalformedFilesAreRefused) {
  const std::string good = "{" + entry("a", "F32", "[2,2]", "[0,16]") + "}";
  EXPECT_THAT(error_of(""), HasSubstr("empty"));
  EXPECT_THAT(error_of("abc"), HasSubstr("too few"));
  EXPECT_THAT(error_of(file_of(good, 16).substr(0, 20)), HasSubstr("truncated"));
  EXPECT_THAT(error_of(file_of(good, 12)), HasSubstr("tensor a"));
  EXPECT_THAT(error_of(file_of(good, 20)), HasSubstr("after the last tensor"));
  EXPECT_THAT(error_of(std::string(8, '\xff') + good), HasSubstr("header claims"));
  EXPECT_THAT(error_of(file_of("{\"a\":", 0)), HasSubstr("malformed header"));
  EXPECT_THAT(error_of(file_of("[]", 0)), HasSubstr("no JSON object"));
  EXPECT_THAT(error_of(file_of("{\"a\":{}}", 0)), HasSubstr("dtype"));
  EXPECT_THAT(error_of(file_of(R"({"__metadata__":{"x":1}})", 0)), HasSubstr("__metadata__"));
}

TEST(Safetensors, LayoutsThatLieAreRefused) {
  const auto one = [](const char* dtype, const char* shape, const char* offsets) {
    return error_of(file_of("{" + entry("w", dtype, shape, offsets) + "}", 16));
  };
  EXPECT_THAT(one("F32", "[2,3]", "[0,16]"), HasSubstr("does not fill"));
  EXPECT_THAT(one("F32", "[-2,-2]", "[0,16]"), HasSubstr("does not fill"));
  EXPECT_THAT(one("F32", "[4611686018427387904,4]", "[0,16]"), HasSubstr("does not fill"));
  EXPECT_THAT(one("F32", "[4294967296,4294967296,0]", "[0,16]"), HasSubstr("does not fill"));
  EXPECT_THAT(one("F32", "[2,2.5]", "[0,16]"), HasSubstr("integers"));
  EXPECT_THAT(one("F32", "[4]", "[16,0]"), HasSubstr("tensor w"));
  EXPECT_THAT(one("F32", "[4]", "[-16,0]"), HasSubstr("data_offsets"));
  EXPECT_THAT(one("F32", "[4]", "[0,16,32]"), HasSubstr("data_offsets"));
  EXPECT_THAT(one("F32", "[3]", "[4,16]"), HasSubstr("gap"));
  EXPECT_THAT(one("I32", "[4]", "[0,16]"), HasSubstr("I32"));
  EXPECT_THAT(one("Q4_1", "[4]", "[0,16]"), HasSubstr("Q4_1"));
  const std::string overlapping =
      "{" + entry("a", "F32", "[3]", "[0,12]") + "," + entry("b", "F32", "[2]", "[8,16]") + "}";
  EXPECT_THAT(error_of(file_of(overlapping, 16)), HasSubstr("overlap"));
}

TEST(Safetensors, WrittenTensorsReadBack) {
  TemporaryFolder folder;
  const std::vector<float> values = {1.5F, -2, 3e-20F, 4};
  const std::vector<uint16_t> bits = {0x3f80, 0xc000, 0x7f80};
  {
    SafetensorsWriter writer(folder / "w.safetensors",
                             {{"second", FileType::f32, {2, 2}}, {"first", FileType::bf16, {3}}},
                             {{"steps", "7"}});
    writer.write({reinterpret_cast<const uint8_t*>(values.data()), 16});
    writer.write({reinterpret_cast<const uint8_t*>(bits.data()), 6});
    EXPECT_FALSE(std::filesystem::exists(folder / "w.safetensors")) << "visible before it is whole";
    writer.finish();
  }
  const SafetensorsReader reader(folder / "w.safetensors");
  EXPECT_EQ(reader.metadata().at("steps"), "7");
  EXPECT_EQ(to_f32(reader.tensor("second")), values);
  EXPECT_EQ(to_bf16(reader.tensor("first")), bits);
  EXPECT_EQ(reader.tensor("second").shape, (std::vector<int64_t>{2, 2}));
  EXPECT_THROW(reader.tensor("third"), Error);
}

TEST(Safetensors, AnUnfinishedWriterLeavesNothing) {
  TemporaryFolder folder;
  {
    SafetensorsWriter writer(folder / "w.safetensors", {{"a", FileType::f32, {1}}}, {});
    EXPECT_THROW(writer.finish(), std::invalid_argument);
    const uint8_t bytes[3] = {};
    EXPECT_THROW(writer.write(bytes), std::invalid_argument);
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
  EXPECT_THROW(SafetensorsWriter(folder / "no/such/place", {}, {}), Error);
}

TEST(Safetensors, AnIndexCannotLeadOutOfItsDirectory) {
  TemporaryFolder folder;
  const auto error_with = [&](const std::string& shard) -> std::string {
    write_bytes(folder / "model.safetensors.index.json",
                nlohmann::json({{"weight_map", {{"w", shard}}}}).dump());
    try {
      SafetensorsDirectory directory(folder.path());
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  };
  for (const char* shard : {"../secret.safetensors", "/etc/passwd", "a/b.safetensors", "..", ""}) {
    EXPECT_THAT(error_with(shard), HasSubstr("plain names")) << shard;
  }
  EXPECT_THAT(error_with("missing.safetensors"), HasSubstr("missing.safetensors"));
  write_bytes(folder / "model.safetensors.index.json", "{}");
  EXPECT_THROW(SafetensorsDirectory directory(folder.path()), Error);
  std::filesystem::remove(folder / "model.safetensors.index.json");
  EXPECT_THROW(SafetensorsDirectory directory(folder.path()), Error);
}

TEST(NumberFormats, Bf16RoundsToNearestEven) {
  EXPECT_EQ(f32_to_bf16(1.0F), 0x3f80);
  EXPECT_EQ(f32_to_bf16(std::bit_cast<float>(0x3f808000U)), 0x3f80);  // a tie, down to even
  EXPECT_EQ(f32_to_bf16(std::bit_cast<float>(0x3f818000U)), 0x3f82);  // a tie, up to even
  EXPECT_EQ(f32_to_bf16(std::bit_cast<float>(0x3f808001U)), 0x3f81);
  EXPECT_EQ(f32_to_bf16(std::numeric_limits<float>::max()), 0x7f80);
  EXPECT_EQ(f32_to_bf16(std::numeric_limits<float>::infinity()), 0x7f80);
  EXPECT_TRUE(std::isnan(bf16_to_f32(f32_to_bf16(std::bit_cast<float>(0x7f800001U)))));
}

TEST(NumberFormats, EveryF16IsItsValue) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const int exponent = static_cast<int>((bits >> 10) & 31);
    const double mantissa = bits & 0x3ff, sign = (bits & 0x8000) != 0 ? -1 : 1;
    const float value = f16_to_f32(static_cast<uint16_t>(bits));
    if (exponent == 31) {
      EXPECT_EQ(std::isnan(value), mantissa != 0);
      EXPECT_EQ(std::isinf(value), mantissa == 0);
    } else if (exponent == 0) {
      EXPECT_EQ(value, sign * std::ldexp(mantissa, -24));
    } else {
      EXPECT_EQ(value, sign * std::ldexp(1024 + mantissa, exponent - 25));
    }
  }
}

}  // namespace
}  // namespace ropesweep::llama
