// Checkpoints in all storage types, in and out; fresh weights; digests; what is refused.
#include "worker/llama/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "experiments/error.h"
#include "tests/worker/llama/fixtures.h"

namespace ropesweep::llama {
namespace {

using backend::Dtype;
using testing::HasSubstr;

class Checkpoint : public testing::Test {
 protected:
  using Values = std::map<std::string, std::vector<float>>;

  Values values_of(const Weights& weights) {
    Values values;
    for (const NamedTensor& named : named_tensors(weights)) {
      values[named.name] = host_values(*backend_, named.tensor);
    }
    return values;
  }

  Values loaded(const std::filesystem::path& directory, Dtype type = Dtype::f32) {
    return values_of(load_weights(*backend_, directory, read_config(directory), type));
  }

  std::string load_error(const std::filesystem::path& directory) {
    try {
      load_weights(*backend_, directory, read_config(directory), Dtype::f32);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), FailureKind::user);
      return error.what();
    }
    return "no error";
  }

  /// A copy of the tiny model that a test may spoil.
  void copy_tiny(const std::string& type) {
    std::filesystem::copy(fixture("types/" + type), folder_.path());
  }

  std::unique_ptr<backend::Backend> backend_ = backend::make_cpu_backend(1);
  TemporaryFolder folder_;
};

TEST_F(Checkpoint, AllStorageTypesLoadEqual) {
  const Values f32 = loaded(fixture("types/f32"));
  EXPECT_EQ(f32.size(), 12U);
  for (const std::string type : {"f16", "bf16", "sharded"}) {
    EXPECT_EQ(loaded(fixture("types/" + type)), f32) << type;
    EXPECT_EQ(loaded(fixture("types/" + type), Dtype::bf16), f32) << type << " as bf16";
  }
}

TEST_F(Checkpoint, ATiedOutputIsTheEmbedding) {
  const Config config = read_config(fixture("grouped_tied"));
  const Weights weights = load_weights(*backend_, fixture("grouped_tied"), config, Dtype::f32);
  EXPECT_EQ(weights.output.raw(), weights.embedding.raw());
  const Weights zeros = zeros_like(*backend_, weights);
  EXPECT_EQ(zeros.output.raw(), zeros.embedding.raw());
  for (const NamedTensor& named : named_tensors(weights)) EXPECT_NE(named.name, "lm_head.weight");
}

TEST_F(Checkpoint, SpoiledWeightsAreRefusedByName) {
  copy_tiny("f32");
  const std::filesystem::path config_file = folder_ / "config.json";
  const std::filesystem::path weights_file = folder_ / "model.safetensors";
  const nlohmann::json config = read_json(config_file);
  EXPECT_EQ(load_error(folder_.path()), "no error");

  nlohmann::json changed = config;
  changed["num_hidden_layers"] = 2;
  write_bytes(config_file, changed.dump());
  EXPECT_THAT(load_error(folder_.path()), HasSubstr("model.layers.1."));
  changed = config;
  changed["intermediate_size"] = 48;
  write_bytes(config_file, changed.dump());
  EXPECT_THAT(load_error(folder_.path()),
              testing::AllOf(HasSubstr("gate_proj"), HasSubstr("[48, 32]"), HasSubstr("[32, 32]")));
  write_bytes(config_file, config.dump());

  const std::string bytes = read_bytes(weights_file);
  write_bytes(weights_file, bytes.substr(0, bytes.size() - 100));
  EXPECT_THAT(load_error(folder_.path()), HasSubstr("truncated"));
  std::filesystem::remove(weights_file);
  EXPECT_THAT(load_error(folder_.path()), HasSubstr("neither"));
}

TEST_F(Checkpoint, AShardThatLacksATensorIsNamed) {
  copy_tiny("sharded");
  const std::filesystem::path file = folder_ / "model.safetensors.index.json";
  nlohmann::json index = read_json(file);
  const std::string shard = index["weight_map"]["model.norm.weight"];
  const std::string other = index["weight_map"]["lm_head.weight"];
  ASSERT_NE(shard, other);
  index["weight_map"]["model.norm.weight"] = other;
  write_bytes(file, index.dump());
  EXPECT_THAT(load_error(folder_.path()),
              testing::AllOf(HasSubstr(other), HasSubstr("model.norm.weight")));
}

TEST_F(Checkpoint, ASavedModelLoadsEqualWithItsPositionsAndTokenizer) {
  const Config config = read_config(fixture("grouped_tied"));
  const Weights weights = load_weights(*backend_, fixture("grouped_tied"), config, Dtype::f32);
  write_bytes(folder_ / "tokenizer.json", "{}");
  write_bytes(folder_ / "tokenizer.model", "pieces");
  write_bytes(folder_ / "added_tokens.json", "{}");
  const std::filesystem::path saved = folder_ / "saved";
  std::filesystem::create_directory(saved);
  write_bytes(saved / "losses.jsonl", "kept");
  write_bytes(saved / "model-00001-of-00002.safetensors", "stale");
  for (const Dtype type : {Dtype::f32, Dtype::bf16}) {  // the second replaces the first
    save_checkpoint(*backend_, saved, weights, config, type, "yarn", 4, folder_.path());
    EXPECT_EQ(loaded(saved), values_of(weights));
    const Config again = read_config(saved);
    EXPECT_EQ(again.own_scheme, "yarn");
    EXPECT_EQ(again.own_scale, 4);
    EXPECT_EQ(again.max_positions, 1024);
    EXPECT_EQ(again.rotary.original_length, 256);
    EXPECT_TRUE(again.tied);
    EXPECT_EQ(again.type, type == Dtype::f32 ? "f32" : "bf16");
  }
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(saved)) {
    names.insert(entry.path().filename().string());
  }
  EXPECT_EQ(names,
            (std::set<std::string>{"added_tokens.json", "config.json", "losses.jsonl",
                                   "model.safetensors", "tokenizer.json", "tokenizer.model"}));
}

TEST_F(Checkpoint, AFailedSaveLeavesTheOldOneOrNone) {
  const Config config = read_config(fixture("multi_head"));
  const Weights weights = load_weights(*backend_, fixture("multi_head"), config, Dtype::f32);
  EXPECT_THROW(save_checkpoint(*backend_, folder_ / "new", weights, config, Dtype::f32,
                               "no-such-scheme", 4, {}),
               Error);
  EXPECT_FALSE(std::filesystem::exists(folder_ / "new"));
  write_bytes(folder_ / "file", "in the way");
  try {
    save_checkpoint(*backend_, folder_ / "file", weights, config, Dtype::f32, "none", 1, {});
    FAIL() << "saved over a file";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("file"));
  }
  EXPECT_EQ(read_bytes(folder_ / "file"), "in the way");
}

TEST_F(Checkpoint, SavingLeavesNothingBehindHoweverItEnds) {
  const Config config = read_config(fixture("multi_head"));
  const Weights weights = load_weights(*backend_, fixture("multi_head"), config, Dtype::f32);
  const auto directory = folder_ / "saved";
  const auto save = [&] {
    save_checkpoint(*backend_, directory, weights, config, Dtype::f32, "none", 1, {});
  };
  const auto names = [&] {
    std::vector<std::string> found;
    for (const auto& entry : std::filesystem::directory_iterator(directory)) {
      found.push_back(entry.path().filename().string());
    }
    return found;
  };
  std::filesystem::create_directories(directory / "config.json" / "in the way");
  EXPECT_THROW(save(), Error);
  EXPECT_THAT(names(), testing::ElementsAre("config.json"));
  std::filesystem::remove_all(directory / "config.json");
  std::filesystem::create_directories(directory / ".saving-1");
  write_bytes(directory / ".saving-1" / "model.safetensors", "of a process that died");
  save();
  EXPECT_THAT(names(), testing::UnorderedElementsAre("config.json", "model.safetensors"));
}

TEST_F(Checkpoint, FreshWeightsDependOnSeedAndNameOnly) {
  Config config = read_config(fixture("multi_head"));
  config.initializer_range = 0;
  const Values first = values_of(init_weights(*backend_, config, Dtype::f32, 1));
  EXPECT_EQ(values_of(init_weights(*backend_, config, Dtype::f32, 1)), first);
  Config shallow = config;
  shallow.layers = 1;
  for (const auto& [name, values] : values_of(init_weights(*backend_, shallow, Dtype::f32, 1))) {
    EXPECT_EQ(values, first.at(name)) << name;
  }
  const Values other = values_of(init_weights(*backend_, config, Dtype::f32, 2));
  for (const auto& [name, values] : first) {
    const bool norm = name.find("norm") != std::string::npos;
    EXPECT_EQ(other.at(name) == values, norm) << name;
    if (norm) {
      EXPECT_EQ(values, std::vector<float>(values.size(), 1.0F));
      continue;
    }
    double squares = 0;
    for (const float value : values) squares += double{value} * value;
    const double deviation = std::sqrt(squares / static_cast<double>(values.size()));
    const double fan_in = name.find("down_proj") != std::string::npos ? 96 : 64;
    EXPECT_NEAR(deviation * std::sqrt(fan_in), 1, 0.06) << name;
  }
  EXPECT_NE(first.at("model.layers.0.mlp.up_proj.weight"),
            first.at("model.layers.1.mlp.up_proj.weight"));
  config.initializer_range = 0.02;
  const Values narrow = values_of(init_weights(*backend_, config, Dtype::f32, 1));
  EXPECT_FLOAT_EQ(narrow.at("lm_head.weight")[5], first.at("lm_head.weight")[5] * 0.02F * 8);
}

TEST_F(Checkpoint, TheDigestFollowsTheContent) {
  copy_tiny("f32");
  const std::string digest = model_digest(folder_.path());
  EXPECT_EQ(digest.size(), 64U);
  EXPECT_EQ(digest, model_digest(fixture("types/f32")));
  write_bytes(folder_ / "README.md", "says nothing of the figures");
  EXPECT_EQ(model_digest(folder_.path()), digest);
  write_bytes(folder_ / "tokenizer.json", "{}");
  const std::string with_tokenizer = model_digest(folder_.path());
  EXPECT_NE(with_tokenizer, digest);
  std::string bytes = read_bytes(folder_ / "model.safetensors");
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  write_bytes(folder_ / "model.safetensors", bytes);
  EXPECT_NE(model_digest(folder_.path()), with_tokenizer);
  EXPECT_NE(model_digest(fixture("types/sharded")), digest);
}

}  // namespace
}  // namespace ropesweep::llama
