// config.json of both eras; the rope keys read and written; what is refused, and that errors name
// it.
#include "worker/llama/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "experiments/error.h"
#include "tests/worker/llama/fixtures.h"
#include "worker/llama/rope_settings.h"

namespace ropesweep::llama {
namespace {

using nlohmann::json;
using testing::HasSubstr;

const json plain = {{"architectures", {"LlamaForCausalLM"}},
                    {"model_type", "llama"},
                    {"hidden_size", 128},
                    {"intermediate_size", 344},
                    {"num_attention_heads", 4},
                    {"num_hidden_layers", 3},
                    {"vocab_size", 1000},
                    {"max_position_embeddings", 4096},
                    {"rms_norm_eps", 1e-6},
                    {"rope_theta", 500000.0},
                    {"torch_dtype", "bfloat16"}};

Config read(const json& config) {
  TemporaryFolder folder;
  write_bytes(folder / "config.json", config.dump());
  return read_config(folder.path());
}

json with(const json& changes) {
  json config = plain;
  config.merge_patch(changes);
  return config;
}

std::string error_of(const json& config) {
  try {
    read(config);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), FailureKind::user);
    return error.what();
  }
  return "no error";
}

TEST(Config, AV4ConfigWithItsDefaults) {
  const Config config = read(plain);
  EXPECT_EQ(config.layers, 3);
  EXPECT_EQ(config.width, 128);
  EXPECT_EQ(config.hidden, 344);
  EXPECT_EQ(config.heads, 4);
  EXPECT_EQ(config.kv_heads, 4);
  EXPECT_EQ(config.head_dim, 32);
  EXPECT_EQ(config.vocabulary, 1000);
  EXPECT_FALSE(config.tied);
  EXPECT_FLOAT_EQ(config.norm_epsilon, 1e-6F);
  EXPECT_EQ(config.rotary.base, 500000);
  EXPECT_EQ(config.rotary.head_dim, 32);
  EXPECT_EQ(config.rotary.original_length, 4096);
  EXPECT_EQ(config.own_scheme, "none");
  EXPECT_EQ(config.own_scale, 1);
  EXPECT_EQ(config.bos_id, -1);
  EXPECT_EQ(config.type, "bf16");
}

TEST(Config, AV5ConfigKeepsTheBaseWithTheRopeParameters) {
  json changes = {
      {"rope_parameters", {{"rope_type", "linear"}, {"factor", 2.0}, {"rope_theta", 1e5}}},
      {"num_key_value_heads", 2},
      {"head_dim", 64},
      {"tie_word_embeddings", true},
      {"bos_token_id", 1},
      {"eos_token_id", {7, 8}},
      {"dtype", "float32"},
      {"rope_theta", nullptr}};
  const Config config = read(with(changes));
  EXPECT_EQ(config.rotary.base, 1e5);
  EXPECT_EQ(config.own_scheme, "linear");
  EXPECT_EQ(config.own_scale, 2);
  EXPECT_EQ(config.kv_heads, 2);
  EXPECT_EQ(config.head_dim, 64);
  EXPECT_TRUE(config.tied);
  EXPECT_EQ(config.bos_id, 1);
  EXPECT_EQ(config.eos_id, 7);
  EXPECT_EQ(config.type, "f32");
}

TEST(Config, RopeTypesBecomeSchemeCalls) {
  Config config = read(with({{"rope_scaling", {{"type", "dynamic"}, {"factor", 4}}}}));
  EXPECT_EQ(config.own_scheme, "dynamic-ntk");
  EXPECT_EQ(config.own_scale, 4);
  EXPECT_EQ(config.rotary.original_length, 4096);

  config = read(with({{"max_position_embeddings", 32768},
                      {"rope_scaling",
                       {{"rope_type", "yarn"},
                        {"factor", 8},
                        {"original_max_position_embeddings", 4096},
                        {"beta_fast", 32},
                        {"beta_slow", 2},
                        {"attention_factor", 1.5},
                        {"truncate", false}}}}));
  EXPECT_EQ(config.own_scale, 8);
  EXPECT_EQ(config.rotary.original_length, 4096);
  const auto positions = make_position_encoding(config.own_scheme, config.own_scale, config.rotary);
  EXPECT_EQ(positions->map(1).query_amplitude, 1.5);
  const auto same = make_position_encoding(
      "yarn(beta_slow=2, attention_factor=1.5, truncate=false)", 8, config.rotary);
  EXPECT_EQ(positions->map(1).inv_freq, same->map(1).inv_freq);
}

TEST(Config, RefusesWhatItCannotCompute) {
  EXPECT_THAT(error_of(with({{"architectures", {"MistralForCausalLM"}}})), HasSubstr("Mistral"));
  EXPECT_THAT(error_of(with({{"model_type", "gemma"}})), HasSubstr("model_type"));
  EXPECT_THAT(error_of(with({{"attention_bias", true}})), HasSubstr("attention_bias"));
  EXPECT_THAT(error_of(with({{"mlp_bias", true}})), HasSubstr("mlp_bias"));
  EXPECT_THAT(error_of(with({{"hidden_act", "gelu"}})), HasSubstr("gelu"));
  EXPECT_THAT(error_of(with({{"num_key_value_heads", 3}})), HasSubstr("num_key_value_heads"));
  EXPECT_THAT(error_of(with({{"head_dim", 33}})), HasSubstr("head_dim"));
  EXPECT_THAT(error_of(with({{"head_dim", 16}})), HasSubstr("32 to 256"));
  EXPECT_THAT(error_of(with({{"hidden_size", 130}})), HasSubstr("head_dim"));
  EXPECT_THAT(error_of(with({{"vocab_size", nullptr}})), HasSubstr("vocab_size is missing"));
  EXPECT_THAT(error_of(with({{"vocab_size", -5}})), HasSubstr("vocab_size"));
  EXPECT_THAT(error_of(with({{"vocab_size", "many"}})), HasSubstr("vocab_size"));
  EXPECT_THAT(error_of(with({{"torch_dtype", "int8"}})), HasSubstr("int8"));
  EXPECT_THAT(error_of(with({{"partial_rotary_factor", 1.5}})), HasSubstr("partial_rotary_factor"));
  EXPECT_THAT(error_of(with({{"partial_rotary_factor", 0.1}})), HasSubstr("even number"));
  EXPECT_THAT(error_of(with({{"rope_parameters", {{"full_attention", {{"rope_theta", 1}}}}}})),
              HasSubstr("full_attention has positions of its own"));
  EXPECT_THAT(error_of(with({{"rope_scaling", {{"rope_type", "spiral"}}}})), HasSubstr("spiral"));
  EXPECT_THAT(error_of(with({{"rope_scaling", {{"rope_type", "linear"}}}})), HasSubstr("factor"));
  EXPECT_THAT(error_of(with({{"rope_scaling", {{"rope_type", "longrope"}, {"factor", 4}}}})),
              HasSubstr("short_factor must be a list of 16 numbers"));
  EXPECT_THAT(error_of(with({{"rope_scaling", 4}})), HasSubstr("rope_scaling"));
  EXPECT_THAT(error_of(json::array()), HasSubstr("one JSON object"));
}

TEST(Config, AMissingOrBrokenFileIsNamed) {
  TemporaryFolder folder;
  EXPECT_THROW(read_config(folder.path()), Error);
  write_bytes(folder / "config.json", "{\"hidden_size\": ");
  try {
    read_config(folder / "config.json");
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("config.json"));
  }
}

TEST(Config, Llama3LongropeAndPartialCheckpoints) {
  Config config = read(with({{"max_position_embeddings", 131072},
                             {"rope_scaling",
                              {{"rope_type", "llama3"},
                               {"factor", 8.0},
                               {"low_freq_factor", 1.0},
                               {"high_freq_factor", 4.0},
                               {"original_max_position_embeddings", 8192}}}}));
  EXPECT_EQ(canonical_scheme(config.own_scheme), "llama3");
  EXPECT_EQ(config.own_scale, 8);
  EXPECT_EQ(config.rotary.original_length, 8192);

  // Phi-3's: no factor, the original length outside.
  const std::vector<double> shorts(8, 1.5), longs(8, 3.5);
  config = read(with({{"max_position_embeddings", 131072},
                      {"original_max_position_embeddings", 4096},
                      {"partial_rotary_factor", 0.5},
                      {"rope_scaling",
                       {{"type", "longrope"}, {"short_factor", shorts}, {"long_factor", longs}}}}));
  EXPECT_EQ(config.own_scheme, "longrope");
  EXPECT_EQ(config.own_scale, 32);
  EXPECT_EQ(config.rotary.short_factor, shorts);
  EXPECT_EQ(config.rotary.long_factor, longs);
  EXPECT_EQ(config.rotary.head_dim, 32);
  EXPECT_EQ(config.rotary.rotary_fraction, 0.5);
  const auto positions = make_position_encoding(config.own_scheme, config.own_scale, config.rotary);
  EXPECT_EQ(positions->map(1).inv_freq.size(), 8U);
  EXPECT_EQ(positions->map(4096).inv_freq[0], 1 / 1.5);
  EXPECT_EQ(positions->map(4097).inv_freq[0], 1 / 3.5);
  EXPECT_NEAR(positions->map(1).query_amplitude, 1.19024, 5e-6);

  config = read(with(
      {{"rope_parameters", {{"rope_type", "proportional"}, {"partial_rotary_factor", 0.25}}}}));
  EXPECT_EQ(canonical_scheme(config.own_scheme), "p-rope(0.25)");
  EXPECT_EQ(config.rotary.rotary_fraction, 1);
}

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
