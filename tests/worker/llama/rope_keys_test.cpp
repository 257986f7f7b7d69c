// Schemes to the rope keys of config.json and back.
#include <gtest/gtest.h>

#include <cmath>

#include "experiments/error.h"
#include "tests/worker/llama/fixtures.h"
#include "worker/llama/rope_settings.h"

namespace ropesweep::llama {
namespace {

using nlohmann::json;

const RotaryShape shape{32, 10000, 256};

TEST(RopeKeys, SchemesThatOthersKnowAreWrittenPlainly) {
  EXPECT_EQ(rope_keys("none", 1, shape).parameters,
            json({{"rope_type", "default"}, {"rope_theta", 10000.0}}));
  EXPECT_EQ(rope_keys("yarn", 1, shape).parameters["rope_type"], "default");
  const RopeKeys linear = rope_keys("linear", 4, shape);
  EXPECT_EQ(linear.parameters,
            json({{"rope_type", "linear"}, {"factor", 4.0}, {"rope_theta", 10000.0}}));
  EXPECT_EQ(linear.max_positions, 256);
  EXPECT_EQ(rope_keys("dynamic-ntk(factor=2)", 1, shape).parameters,
            json({{"rope_type", "dynamic"}, {"factor", 2.0}, {"rope_theta", 10000.0}}));
  EXPECT_EQ(rope_keys("dynamic-ntk", 3, shape).parameters["factor"], 3.0);
  const RopeKeys yarn = rope_keys("yarn(beta_fast=16)", 4, shape);
  EXPECT_EQ(yarn.parameters["rope_type"], "yarn");
  EXPECT_EQ(yarn.parameters["beta_fast"], 16);
  EXPECT_EQ(yarn.parameters["original_max_position_embeddings"], 256);
  EXPECT_EQ(yarn.max_positions, 1024);
}

TEST(RopeKeys, OtherStaticMapsAreLongropeFactors) {
  for (const auto& [scheme, scale] :
       {std::pair{"ntk", 4.0}, std::pair{"power(0.5)", 1.0}, std::pair{"truncated(256)", 1.0},
        std::pair{"yarn", 3.3}, std::pair{"ntk-by-parts", 4.0}, std::pair{"nope", 1.0},
        std::pair{"resonance(yarn)", 4.0}, std::pair{"p-rope(0.5, linear)", 2.0}}) {
    const json keys = rope_keys(scheme, scale, shape).parameters;
    ASSERT_EQ(keys["rope_type"], "longrope") << scheme;
    const FrequencyMap map = make_position_encoding(scheme, scale, shape)->map(256);
    EXPECT_EQ(keys["attention_factor"], map.query_amplitude);
    EXPECT_EQ(keys["short_factor"], keys["long_factor"]);
    for (size_t i = 0; i < 16; ++i) {
      const double factor = keys["short_factor"][i];
      ASSERT_TRUE(std::isfinite(factor));
      const double read_back = std::pow(10000.0, -static_cast<double>(i) / 16) / factor;
      EXPECT_NEAR(read_back, map.inv_freq[i], 1e-12) << scheme << " pair " << i;
    }
  }
}

TEST(RopeKeys, Llama3BaseAndLongropeHaveKeysOfTheirOwn) {
  const json llama3 = rope_keys("llama3(2, 8)", 4, shape).parameters;
  EXPECT_EQ(llama3, json({{"rope_type", "llama3"},
                          {"factor", 4.0},
                          {"low_freq_factor", 2.0},
                          {"high_freq_factor", 8.0},
                          {"original_max_position_embeddings", 256},
                          {"rope_theta", 10000.0}}));
  EXPECT_EQ(rope_keys("base(500000)", 1, shape).parameters,
            json({{"rope_type", "default"}, {"rope_theta", 500000.0}}));
  EXPECT_EQ(rope_keys("yarn(16)", 4, shape).parameters["beta_fast"], 16);
  RotaryShape own = shape;
  own.short_factor.assign(16, 1.1);
  own.long_factor.assign(16, 3.3);
  const RopeKeys longrope = rope_keys("longrope", 8, own);
  EXPECT_EQ(longrope.parameters["short_factor"], json(own.short_factor)) << "to the bit";
  EXPECT_EQ(longrope.parameters["long_factor"], json(own.long_factor));
  EXPECT_EQ(longrope.parameters["factor"], 8.0);
  EXPECT_EQ(longrope.max_positions, 2048);
}

/// Whatever a fine-tune was trained with, this program reads back.
void expect_read_back(const std::string& scheme, double scale, const RotaryShape& from) {
  json config = {{"max_position_embeddings", 256}};
  write_rope_settings(config, scheme, scale, from);
  config = json::parse(config.dump());
  const RopeSettings settings = read_rope_settings(config, 32, "config.json");
  EXPECT_EQ(settings.scheme, scheme);
  EXPECT_EQ(settings.scale, scale) << scheme;
  EXPECT_EQ(settings.rotary.original_length, 256) << scheme;
  EXPECT_EQ(settings.rotary.base, from.base) << scheme;
  EXPECT_EQ(settings.rotary.rotary_fraction, from.rotary_fraction) << scheme;
  const auto before = make_position_encoding(scheme, scale, from);
  const auto after = make_position_encoding(scheme, scale, settings.rotary);
  for (const int64_t length : {256, 1000}) {
    EXPECT_EQ(after->map(length).inv_freq, before->map(length).inv_freq) << scheme;
    EXPECT_EQ(after->map(length).key_amplitude, before->map(length).key_amplitude) << scheme;
  }
  // … and once more, from what was read.
  json again = config;
  write_rope_settings(again, settings.scheme, settings.scale, settings.rotary);
  EXPECT_EQ(again, config) << scheme;
}

TEST(RopeKeys, WrittenKeysReadBackAsTheSameScheme) {
  for (const auto& [scheme, scale] :
       {std::pair{"none", 1.0}, std::pair{"linear", 4.0}, std::pair{"dynamic-ntk", 2.0},
        std::pair{"yarn", 4.0}, std::pair{"ntk", 8.0}, std::pair{"power(0.5)", 1.0},
        std::pair{"base(5e+05)", 1.0}, std::pair{"llama3", 8.0},
        std::pair{"resonance(yarn(beta_fast=16))", 4.0}, std::pair{"p-rope(0.5)", 1.0},
        std::pair{"nope", 1.0}, std::pair{"resonance(base(20000))", 1.0},
        // No rope type says these; a head that is partly rotated is none of Llama's either.
        std::pair{"dynamic-linear", 1.0}, std::pair{"dynamic-yarn", 1.0},
        std::pair{"partial(0.5, yarn)", 4.0}, std::pair{"resonance(dynamic-ntk)", 2.0}}) {
    expect_read_back(scheme, scale, shape);
  }
}

TEST(RopeKeys, PartialAndLongropeCheckpointsReadBackWhatTheyStartedFrom) {
  RotaryShape partial = shape;
  partial.rotary_fraction = 0.5;
  for (const auto& [scheme, scale] :
       {std::pair{"none", 1.0}, std::pair{"yarn", 4.0}, std::pair{"power(0.5)", 1.0},
        std::pair{"partial(0.5, yarn)", 4.0}}) {
    expect_read_back(scheme, scale, partial);
  }
  RotaryShape longrope = shape;
  longrope.short_factor.assign(16, 1.1);
  longrope.long_factor.assign(16, 3.3);
  for (const auto& [scheme, scale] :
       {std::pair{"longrope", 8.0}, std::pair{"resonance(longrope)", 8.0},
        std::pair{"longrope(attention_factor=1.5)", 8.0},
        std::pair{"p-rope(0.5, longrope)", 2.0}}) {
    expect_read_back(scheme, scale, longrope);
  }
}

TEST(RopeKeys, WhatNoRopeTypeSaysIsInOurOwnKeyAlone) {
  for (const char* scheme : {"dynamic-linear", "dynamic-yarn", "partial(0.5)"}) {
    EXPECT_FALSE(expressed_rope_keys(scheme, 1, shape)) << scheme;
    EXPECT_THROW(rope_keys(scheme, 1, shape), Error) << scheme;
    json config = {{"max_position_embeddings", 256}};
    write_rope_settings(config, scheme, 1, shape);
    EXPECT_EQ(config["rope_parameters"]["rope_type"], "default");
    EXPECT_EQ(config[own_rope_key]["expressed"], false);
  }
}

TEST(RopeKeys, APartialCheckpointKeepsItsShareInBothEras) {
  RotaryShape partial = shape;
  partial.rotary_fraction = 0.5;
  json config = {{"max_position_embeddings", 256}, {"partial_rotary_factor", 0.5}};
  write_rope_settings(config, "power(0.5)", 1, partial);
  EXPECT_EQ(config["partial_rotary_factor"], 0.5);
  EXPECT_EQ(config["rope_parameters"]["partial_rotary_factor"], 0.5);
  EXPECT_EQ(config["rope_parameters"]["short_factor"].size(), 8U);
  write_rope_settings(config, "partial(0.5)", 1, partial);
  EXPECT_EQ(config["partial_rotary_factor"], 0.25);
}

TEST(RopeKeys, AFileOfFrequenciesIsExportedByContent) {
  TemporaryFolder folder;
  std::string numbers;
  for (int i = 0; i < 16; ++i) numbers += fmt::format("{}\n", std::pow(0.6, i));
  write_bytes(folder / "frequencies.txt", numbers);
  const std::string scheme = fmt::format("file({})", (folder / "frequencies.txt").string());
  expect_read_back(scheme, 1, shape);
  json config = {{"max_position_embeddings", 256}};
  write_rope_settings(config, scheme, 1, shape);
  // Neither a changed nor a missing file changes what the checkpoint was trained with.
  write_bytes(folder / "frequencies.txt", "0.5\n" + numbers.substr(numbers.find('\n') + 1));
  EXPECT_EQ(read_rope_settings(config, 32, "config.json").scheme, "longrope");
  std::filesystem::remove(folder / "frequencies.txt");
  const RopeSettings settings = read_rope_settings(config, 32, "config.json");
  EXPECT_EQ(settings.scheme, "longrope");
  const auto positions = make_position_encoding(settings.scheme, settings.scale, settings.rotary);
  for (size_t i = 0; i < 16; ++i) {
    EXPECT_NEAR(positions->map(1).inv_freq[i], std::pow(0.6, static_cast<double>(i)), 1e-15);
  }
}

// Someone who edits the standard keys means them.
TEST(RopeKeys, EditedStandardKeysWinOverOurOwn) {
  json config = {{"max_position_embeddings", 256}};
  write_rope_settings(config, "linear", 4, shape);
  for (const char* keys : {"rope_parameters", "rope_scaling"}) config[keys]["factor"] = 2;
  EXPECT_EQ(read_rope_settings(config, 32, "config.json").scale, 2);
}

}  // namespace
}  // namespace ropesweep::llama
