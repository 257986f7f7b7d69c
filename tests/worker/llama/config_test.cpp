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
  EXPECT_THAT(error_of(with({{"partial_rotary_factor", 0.5}})), HasSubstr("partial_rotary_factor"));
  EXPECT_THAT(error_of(with({{"rope_scaling", {{"rope_type", "spiral"}}}})), HasSubstr("spiral"));
  EXPECT_THAT(error_of(with({{"rope_scaling", {{"rope_type", "linear"}}}})), HasSubstr("factor"));
  EXPECT_THAT(error_of(with({{"rope_scaling", {{"rope_type", "longrope"}, {"factor", 4}}}})),
              HasSubstr("longrope"));
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
  for (const auto& [scheme, scale] : {std::pair{"ntk", 4.0}, std::pair{"power(0.5)", 1.0},
                                      std::pair{"truncated(256)", 1.0}, std::pair{"yarn", 3.3}}) {
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

TEST(RopeKeys, WrittenKeysReadBackAsTheSameScheme) {
  for (const auto& [scheme, scale] :
       {std::pair{"none", 1.0}, std::pair{"linear", 4.0}, std::pair{"dynamic-ntk", 2.0},
        std::pair{"yarn", 4.0}, std::pair{"ntk", 8.0}, std::pair{"power(0.5)", 1.0}}) {
    json config = {{"max_position_embeddings", 256}};
    write_rope_settings(config, scheme, scale, shape);
    config = json::parse(config.dump());
    const RopeSettings settings = read_rope_settings(config, 32, "config.json");
    EXPECT_EQ(settings.scheme, scheme);
    EXPECT_EQ(settings.scale, scale);
    EXPECT_EQ(settings.original_length, 256) << scheme;
    EXPECT_EQ(settings.base, 10000);
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
