// Training with the weights shared among 1, 2 and 4 ranks is one rank's training within rounding;
// what a group saves, any number of ranks resumes; a lost member ends it.
#include "worker/llama/weight_parts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/worker/llama/group_fixtures.h"

namespace ropesweep::llama {
namespace {

using backend::Backend;
using backend::Collective;
using backend::Dtype;
using backend::Pending;
using backend::Tensor;

constexpr int64_t kChunks = 3, kTokens = 36;  // no multiple of the ranks
constexpr double kRows = kChunks * kTokens;

/// One step: each rank takes every size-th chunk of the batch, a masked one where there is none.
double train_step(Member& member, Collective* group, int64_t step,
                  std::vector<float>* gradients = nullptr, double* norm = nullptr) {
  const std::vector<int32_t> ids = token_ids(kChunks * kTokens, 50 + step);
  const std::vector<int32_t> targets = next_tokens(ids, kTokens);
  const int64_t rank = group == nullptr ? 0 : group->rank();
  const int64_t size = group == nullptr ? 1 : group->size();
  double loss = 0;
  for (int64_t first = 0; first < kChunks; first += size) {
    const bool there = first + rank < kChunks;
    const auto at = static_cast<size_t>((there ? first + rank : 0) * kTokens);
    std::vector<int32_t> own(targets.begin() + static_cast<long>(at),
                             targets.begin() + static_cast<long>(at) + kTokens);
    if (!there) own.assign(own.size(), -1);
    loss += member.model.accumulate_gradients(std::span(ids).subspan(at, kTokens), own, 1,
                                              1 / kRows, member.optimizer.gradients(),
                                              first == 0 ? Recompute::none : Recompute::layer);
  }
  if (gradients != nullptr) *gradients = all_values(member.model, member.optimizer.gradients());
  const double before_clipping = member.optimizer.step(group_recipe(), step);
  if (norm != nullptr) *norm = before_clipping;
  return (group == nullptr ? loss : group->sum(loss)) / kRows;
}

Training train(Member& member, Collective* group, int64_t steps) {
  Training training;
  const std::vector<float> before = all_values(member.model, member.model.weights());
  for (int64_t step = 1; step <= steps; ++step) {
    double norm = 0;
    training.losses.push_back(
        train_step(member, group, step, step == 1 ? &training.gradients : nullptr, &norm));
    training.norms.push_back(norm);
  }
  training.change = difference(all_values(member.model, member.model.weights()), before);
  return training;
}

Training train_alone(const std::string& shape, Dtype type, int64_t steps) {
  const auto backend = backend::make_cpu_backend(1);
  Member alone(*backend, nullptr, shape, type);
  return train(alone, nullptr, steps);
}

class Ranks : public testing::TestWithParam<int> {};

TEST_P(Ranks, TrainAsOneDoes) {
  for (const char* shape : {"grouped_tied", "head_96", "qwen2", "gpt_neox"}) {
    const Training want = train_alone(shape, Dtype::f32, 3);
    backend::as_group(GetParam(), [&](Backend& backend, Collective& group) {
      Member member(backend, &group, shape);
      const std::string what = std::string(shape) + ", rank " + std::to_string(group.rank());
      expect_same_training(train(member, &group, 3), want, kRows, what);
    });
  }
}

// In bf16 a weight may round the other way after a step; the first step's gradients are f32 sums.
TEST_P(Ranks, HaveOnesGradientsInBf16) {
  const Training want = train_alone("grouped_tied", Dtype::bf16, 1);
  backend::as_group(GetParam(), [&](Backend& backend, Collective& group) {
    Member member(backend, &group, "grouped_tied", Dtype::bf16);
    const Training got = train(member, &group, 1);
    EXPECT_LE(relative_difference(got.gradients, want.gradients), kRows * kRounding);
    EXPECT_NEAR(got.losses[0], want.losses[0], kRows * kRounding * want.losses[0]);
  });
}

TEST_P(Ranks, ScoreWithTheWeightsOfOneToTheBit) {
  const std::vector<int32_t> ids = token_ids(200, 7), targets = next_tokens(ids, 100);
  TestModel alone("head_96");
  const std::vector<float> want = alone.model->token_losses(ids, targets, 2);
  KvCache cache(*alone.backend, alone.config, Dtype::f32, 20);
  const std::vector<float> next = alone.model->extend(cache, std::span(ids).first(20));
  backend::as_group(GetParam(), [&](Backend& backend, Collective& group) {
    Member member(backend, &group, "head_96");
    EXPECT_EQ(member.model.token_losses(ids, targets, 2), want);
    KvCache own(backend, member.config, Dtype::f32, 20);
    EXPECT_EQ(member.model.extend(own, std::span(ids).first(20)), next);
  });
}

/// Weights after two steps without masters, whose gradients are the weights themselves: no sums
/// that several ranks would round otherwise.
std::vector<float> train_without_masters(Member& member, const std::filesystem::path& state) {
  RecipeSettings recipe = group_recipe();
  recipe.learning_rate = 1e-3;
  recipe.clip = 0;
  recipe.master_weights = false;
  Backend& backend = member.model.backend();
  for (int64_t step = 1; step <= 2; ++step) {
    const auto to = named_tensors(member.optimizer.gradients());
    const auto from = named_tensors(member.model.weights());
    for (size_t i = 0; i < to.size(); ++i) backend.copy(to[i].tensor, from[i].tensor);
    member.optimizer.step(recipe, step);
    if (step == 1) member.optimizer.save(state);
  }
  return all_values(member.model, member.model.weights());
}

// Chance is drawn for an element of the whole tensor, whichever rank has it.
TEST_P(Ranks, RoundAsOneDoesWithoutMasters) {
  TemporaryFolder folder;
  const auto backend = backend::make_cpu_backend(1);
  Member alone(*backend, nullptr, "grouped_tied", Dtype::bf16);
  const std::vector<float> want = train_without_masters(alone, folder / "one.safetensors");
  Member untrained(*backend, nullptr, "grouped_tied", Dtype::bf16);
  EXPECT_NE(want, all_values(untrained.model, untrained.model.weights()));
  backend::as_group(GetParam(), [&](Backend& on, Collective& group) {
    Member member(on, &group, "grouped_tied", Dtype::bf16);
    EXPECT_EQ(train_without_masters(member, folder / "group.safetensors"), want);
    Member resumed(on, &group, "grouped_tied", Dtype::bf16);
    resumed.optimizer.load(folder / "group.safetensors");
    resumed.optimizer.save(folder / "again.safetensors");
  });
  EXPECT_EQ(read_bytes(folder / "group.safetensors"), read_bytes(folder / "one.safetensors"));
  EXPECT_EQ(read_bytes(folder / "again.safetensors"), read_bytes(folder / "one.safetensors"));
}

// A group's state is one rank's: it resumes alone, and a resumed group saves the same bytes.
TEST_P(Ranks, SaveAStateForAnyNumberOfRanks) {
  TemporaryFolder folder;
  const std::filesystem::path state = folder / "state.safetensors";
  std::vector<double> losses;
  backend::as_group(GetParam(), [&](Backend& backend, Collective& group) {
    Member member(backend, &group, "grouped_tied");
    train(member, &group, 2);
    member.optimizer.save(state);
    EXPECT_TRUE(std::filesystem::exists(state));
    const double loss = train_step(member, &group, 3);
    if (group.rank() == 0) losses.push_back(loss);
  });
  const auto backend = backend::make_cpu_backend(1);
  Member alone(*backend, nullptr, "grouped_tied");
  alone.optimizer.load(state);
  EXPECT_EQ(alone.optimizer.steps_done(), 2);
  alone.optimizer.save(folder / "of_one.safetensors");
  EXPECT_EQ(read_bytes(folder / "of_one.safetensors"), read_bytes(state));
  EXPECT_NEAR(train_step(alone, nullptr, 3), losses.at(0), kRows * kRounding * losses.at(0));

  backend::as_group(GetParam(), [&](Backend& other, Collective& group) {
    Member member(other, &group, "grouped_tied");
    member.optimizer.load(state);
    member.optimizer.save(folder / "again.safetensors");
    EXPECT_EQ(train_step(member, &group, 3), losses.at(0));  // as many ranks: the same bits
  });
  EXPECT_EQ(read_bytes(folder / "again.safetensors"), read_bytes(state));
}

TEST_P(Ranks, WriteTheCheckpointOfOne) {
  TemporaryFolder folder;
  for (const char* shape : {"grouped_tied", "head_96", "qwen2", "gpt_neox"}) {
    TestModel alone(shape, Dtype::bf16);
    save_checkpoint(*alone.backend, folder / "one", alone.model->weights(), alone.config,
                    Dtype::f32, "none", 1, "");
    backend::as_group(GetParam(), [&](Backend& backend, Collective& group) {
      Member member(backend, &group, shape, Dtype::bf16);
      save_checkpoint(backend, folder / "group", member.model.weights(), member.config, Dtype::f32,
                      "none", 1, "", &member.parts);
      EXPECT_TRUE(std::filesystem::exists(folder / "group" / "config.json"));
    });
    for (const char* file : {"config.json", "model.safetensors"}) {
      EXPECT_EQ(read_bytes(folder.path() / "group" / file),
                read_bytes(folder.path() / "one" / file))
          << file;
    }
    std::filesystem::remove_all(folder / "group");
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, Ranks, testing::Values(1, 2, 4),
                         [](const auto& size) { return std::to_string(size.param); });

/// A group that notes when its gathers and sums begin (+g, +s) and when they are waited for
/// (-g, -s).
class NotingGroup final : public Collective {
 public:
  explicit NotingGroup(Collective& group) : group_(group) {}

  int rank() const override { return group_.rank(); }
  int size() const override { return group_.size(); }
  void broadcast(const Tensor& x, int root) override { group_.broadcast(x, root); }
  std::unique_ptr<Pending> begin_all_gather(std::span<const Tensor> outs,
                                            std::span<const Tensor> parts) override {
    notes += "+g ";
    return std::make_unique<Noted>(group_.begin_all_gather(outs, parts), notes, "-g ");
  }
  std::unique_ptr<Pending> begin_reduce_scatter(std::span<const Tensor> parts,
                                                std::span<const Tensor> xs) override {
    notes += "+s ";
    return std::make_unique<Noted>(group_.begin_reduce_scatter(parts, xs), notes, "-s ");
  }
  void all_reduce(const Tensor& x) override { group_.all_reduce(x); }
  double sum(double x) override { return group_.sum(x); }
  void barrier() override { group_.barrier(); }

  std::string notes;

 private:
  class Noted final : public Pending {
   public:
    Noted(std::unique_ptr<Pending> inner, std::string& notes, const char* note)
        : inner_(std::move(inner)), notes_(notes), note_(note) {}
    void wait() override {
      notes_ += note_;
      inner_->wait();
    }

   private:
    std::unique_ptr<Pending> inner_;
    std::string& notes_;
    const char* note_;
  };

  Collective& group_;
};

TEST(WeightParts, ArriveAndLeaveWhileTheirNeighboursAreComputed) {
  backend::as_group(2, [](Backend& backend, Collective& group) {
    NotingGroup noting(group);
    Member member(backend, &noting, "head_96");
    const std::vector<int32_t> ids = token_ids(20, 1), targets = next_tokens(ids, 20);
    const auto layers = static_cast<size_t>(member.config.layers);
    ASSERT_GE(layers, 2U);

    std::string forward = "+g +g -g ";  // embedding and first layer; the embedding's there
    for (size_t layer = 0; layer + 1 < layers; ++layer) forward += "-g +g ";
    forward += "-g +g +g -g -g ";  // the last layer; the head's norm and matrix
    noting.notes.clear();
    member.model.token_losses(ids, targets, 1);
    EXPECT_EQ(noting.notes, forward);

    std::string backward = "+s ";  // the head's gradients; the last layer is still here
    for (size_t layer = layers - 1; layer > 0; --layer) backward += "+g -s +s -g ";
    backward += "-s +s -s +s -s ";  // the first layer, the embedding
    for (const Recompute recompute : {Recompute::none, Recompute::layer}) {
      noting.notes.clear();
      member.model.accumulate_gradients(ids, targets, 1, 1, member.optimizer.gradients(),
                                        recompute);
      EXPECT_EQ(noting.notes, forward + backward);
    }
  });
}

// Rank 0's exception is what as_group throws.
TEST(Ranks, EndWhenOneOfThemIsLost) {
  EXPECT_THROW(backend::as_group(3,
                                 [](Backend& backend, Collective& group) {
                                   Member member(backend, &group, "multi_head");
                                   train_step(member, &group, 1);
                                   if (group.rank() == 1) throw std::runtime_error("crash");
                                   train_step(member, &group, 2);
                                 }),
               backend::LostMember);
}

TEST(WeightParts, KeepsAShareOfEveryTensorAndGivesTheWholeBack) {
  const auto whole_backend = backend::make_cpu_backend(1);
  const Config config = read_config(fixture("head_96"));
  const Weights whole = init_weights(*whole_backend, config, Dtype::bf16, 3);
  size_t bytes = 0;
  for (const NamedTensor& named : named_tensors(whole)) bytes += named.tensor.bytes();
  backend::as_group(3, [&](Backend& backend, Collective& group) {
    const WeightParts parts(backend, config, &group);
    const Weights kept = init_weights(backend, config, Dtype::bf16, 3, &parts);
    size_t kept_bytes = 0;
    for (const NamedTensor& named : named_tensors(kept)) kept_bytes += named.tensor.bytes();
    EXPECT_LE(kept_bytes, bytes / 3 + 2 * named_tensors(kept).size());
    const std::vector<NamedTensor> back = named_tensors(parts.whole(kept));
    const std::vector<NamedTensor> want = named_tensors(whole), own = named_tensors(kept);
    for (size_t i = 0; i < want.size(); ++i) {
      EXPECT_EQ(back[i].tensor.shape(), want[i].tensor.shape()) << want[i].name;
      EXPECT_EQ(own[i].matrix, want[i].matrix) << want[i].name;
      EXPECT_EQ(host_values(backend, back[i].tensor), host_values(*whole_backend, want[i].tensor))
          << want[i].name;
    }
  });
}

}  // namespace
}  // namespace ropesweep::llama
