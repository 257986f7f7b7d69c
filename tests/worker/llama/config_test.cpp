// config.json of both eras; its rope keys read; what is refused, and that errors name it.
#include "worker/llama/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "experiments/error.h"
#include "tests/worker/llama/fixtures.h"

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

TEST(Config, SizesPastAllMeasureAreRefused) {
  EXPECT_THAT(error_of(with({{"num_hidden_layers", 1 << 20}})), HasSubstr("num_hidden_layers"));
  EXPECT_THAT(error_of(with({{"hidden_size", 1 << 30}})), HasSubstr("hidden_size"));
  EXPECT_THAT(error_of(with({{"partial_rotary_factor", 1e300}})), HasSubstr("partial_rotary"));
  EXPECT_THAT(error_of(with({{"original_max_position_embeddings", 1e300}})),
              HasSubstr("original_max_position_embeddings"));
  EXPECT_THAT(error_of(with({{"rope_scaling", {{"rope_type", "linear"}, {"factor", 1e300}}}})),
              HasSubstr("scale"));
}

TEST(Config, OurOwnKeyBesideANullShareIsRead) {
  const json own = {{"scheme", "yarn"}, {"scale", 2}, {"rotary_fraction", 1e300}};
  json config =
      with({{"rope_parameters", {{"rope_theta", 500000.0}}}, {"ropesweep_positions", own}});
  config["rope_parameters"]["partial_rotary_factor"] = nullptr;
  EXPECT_EQ(read(config).own_scheme, "none");
}

TEST(Config, NestingWithoutEndIsRefused) {
  TemporaryFolder folder;
  const size_t levels = 200'000;
  write_bytes(folder / "config.json",
              "{\"hidden_size\": " + std::string(levels, '[') + std::string(levels, ']') + "}");
  EXPECT_THROW(read_config(folder.path()), Error);
}

}  // namespace
}  // namespace ropesweep::llama
