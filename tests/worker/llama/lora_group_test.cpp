// Adapters in a group: the base is in shards, the pairs are whole on every rank, and what they
// learn is one rank's within rounding, also where sequences are split and inputs dropped.
#include <gtest/gtest.h>

#include "tests/worker/llama/group_fixtures.h"
#include "worker/llama/lora_files.h"

namespace ropesweep::llama {
namespace {

using backend::Backend;
using backend::Collective;
using backend::Dtype;

constexpr int64_t kTokens = 48, kRows = 2 * kTokens;
const char* const kBase = "grouped_tied";

/// A rank's model over its shards, with an adapter that drops some of its inputs.
struct AdaptedMember {
  AdaptedMember(Backend& on, Collective* group)
      : config(read_config(fixture(kBase))),
        parts(on, config, group),
        model(on, config, load_weights(on, fixture(kBase), config, Dtype::f32, &parts), group),
        lora(std::make_shared<Lora>(
            on, load_adapter(on, fixture(kBase) / "lora" / "adapter", config), Dtype::f32, 0.2, 5)),
        optimizer(on, *lora, parts.group()) {
    model.use_adapters(lora);
  }

  std::vector<float> adapter_values() {
    std::vector<float> values;
    for (const NamedTensor& named : named_tensors(lora->weights())) {
      const std::vector<float> of_one = host_values(model.backend(), named.tensor);
      values.insert(values.end(), of_one.begin(), of_one.end());
    }
    return values;
  }

  Config config;
  WeightParts parts;
  Model model;
  std::shared_ptr<Lora> lora;
  Optimizer optimizer;
};

/// Four steps over two sequences: all of them, each rank's own, or each rank's part of both.
Training train(AdaptedMember& member, Collective* group, bool split) {
  Training training;
  const std::vector<float> start = member.adapter_values();
  member.model.split_sequences(split ? group : nullptr);
  for (int64_t step = 1; step <= 4; ++step) {
    const std::vector<int32_t> ids = token_ids(kRows, 100 + step);
    const std::vector<int32_t> targets = next_tokens(ids, kTokens);
    double loss = 0;
    for (int64_t sequence = 0; sequence < 2; ++sequence) {
      if (group != nullptr && !split && sequence % group->size() != group->rank()) continue;
      member.lora->set_place(step, sequence * kTokens);
      const auto first = static_cast<size_t>(sequence * kTokens);
      loss += member.model.accumulate_gradients(std::span(ids).subspan(first, kTokens),
                                                std::span(targets).subspan(first, kTokens), 1,
                                                1.0 / (2 * kTokens - 2), {}, Recompute::none);
    }
    if (group != nullptr) loss = group->sum(loss);
    training.losses.push_back(loss);
    training.norms.push_back(member.optimizer.step(group_recipe(), step));
  }
  training.change = difference(member.adapter_values(), start);
  training.gradients = {1};
  return training;
}

class LoraRanks : public testing::TestWithParam<bool> {};

TEST_P(LoraRanks, LearnWhatOneDoes) {
  const auto backend = backend::make_cpu_backend(1);
  AdaptedMember alone(*backend, nullptr);
  const Training want = train(alone, nullptr, false);
  std::vector<float> first;
  backend::as_group(2, [&](Backend& on, Collective& group) {
    AdaptedMember member(on, &group);
    EXPECT_LT(member.model.weights().embedding.elements(),
              alone.model.weights().embedding.elements());
    expect_same_training(train(member, &group, GetParam()), want, kRows,
                         GetParam() ? "split" : "in turns");
  });
}

INSTANTIATE_TEST_SUITE_P(Ways, LoraRanks, testing::Bool(),
                         [](const auto& way) { return way.param ? "split" : "in_turns"; });

TEST(LoraGroup, SavesOneFileThatAnyNumberOfRanksLoads) {
  TemporaryFolder folder;
  const std::filesystem::path state = folder / "state.safetensors";
  const auto backend = backend::make_cpu_backend(1);
  std::vector<float> want;
  backend::as_group(2, [&](Backend& on, Collective& group) {
    AdaptedMember member(on, &group);
    train(member, &group, false);
    member.optimizer.save(state);
    EXPECT_TRUE(std::filesystem::exists(state));
    const std::vector<float> values = member.adapter_values();
    if (group.rank() == 0) want = values;
  });
  AdaptedMember alone(*backend, nullptr);
  alone.optimizer.load(state);
  EXPECT_EQ(alone.optimizer.steps_done(), 4);
  EXPECT_EQ(alone.adapter_values(), want);
  backend::as_group(2, [&](Backend& on, Collective& group) {
    AdaptedMember member(on, &group);
    member.optimizer.load(state);
    EXPECT_EQ(member.adapter_values(), want) << group.rank();
  });
}

TEST(LoraGroup, MergesIntoItsShards) {
  const auto backend = backend::make_cpu_backend(1);
  const Config config = read_config(fixture(kBase));
  const auto adapter = fixture(kBase) / "lora" / "adapter";
  const Weights want = load_merged_weights(*backend, adapter, {}, config, Dtype::bf16);
  backend::as_group(2, [&](Backend& on, Collective& group) {
    const WeightParts parts(on, config, &group);
    const Weights whole =
        parts.whole(load_merged_weights(on, adapter, {}, config, Dtype::bf16, &parts));
    const auto got = named_tensors(whole), expected = named_tensors(want);
    for (size_t i = 0; i < got.size(); ++i) {
      EXPECT_EQ(host_values(on, got[i].tensor), host_values(*backend, expected[i].tensor))
          << got[i].name;
    }
  });
}

}  // namespace
}  // namespace ropesweep::llama
