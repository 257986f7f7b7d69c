// Greedy generation against repeated whole passes, and where it ends.
#include "worker/tasks/generation.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/worker/tasks/tiny_model.h"

namespace ropesweep::tasks {
namespace {

class Generation : public testing::Test {
 protected:
  Generation()
      : directory_(make_model_directory(folder_ / "model")),
        backend_(backend::make_cpu_backend(1)),
        loaded_(load_model(*backend_, {directory_, directory_, directory_, "f32", 0})) {
    use("none", 1);
  }

  void use(const std::string& scheme, double scale) {
    loaded_.model->use_positions(
        make_position_encoding(scheme, scale, loaded_.model->config().rotary));
  }

  /// The definition: a whole pass for each token.
  std::vector<int32_t> naive(std::vector<int32_t> ids, int64_t new_tokens) {
    const auto vocabulary = loaded_.model->config().vocabulary;
    std::vector<int32_t> generated;
    while (static_cast<int64_t>(generated.size()) < new_tokens) {
      const auto logits = loaded_.model->logits(ids, 1);
      const auto last = logits.end() - vocabulary;
      const auto best = static_cast<int32_t>(std::max_element(last, logits.end()) - last);
      if (best == loaded_.tokenizer->eos_id()) break;
      generated.push_back(best);
      ids.push_back(best);
    }
    return generated;
  }

  TemporaryFolder folder_;
  std::filesystem::path directory_;
  std::unique_ptr<backend::Backend> backend_;
  LoadedModel loaded_;
};

TEST_F(Generation, IsRepeatedArgmax) {
  for (const std::string scheme : {"none", "yarn"}) {
    use(scheme, scheme == "none" ? 1 : 4);
    for (uint64_t seed = 0; seed < 4; ++seed) {
      const auto prompt = loaded_.tokenizer->encode(words(20, seed));
      const Generated generated =
          generate(*loaded_.model, *loaded_.tokenizer, prompt, 24, {}, TaskContext());
      EXPECT_EQ(generated.ids, naive(prompt, 24));
      EXPECT_EQ(generated.text, loaded_.tokenizer->decode(generated.ids));
    }
  }
}

TEST_F(Generation, DynamicPositionsUpToTheOriginalLengthAreTheBaseOnes) {
  const auto prompt = loaded_.tokenizer->encode(words(4, 1));
  ASSERT_LT(prompt.size() + 4, 32u);
  const auto base = generate(*loaded_.model, *loaded_.tokenizer, prompt, 4, {}, TaskContext());
  use("dynamic-ntk", 4);
  const auto dynamic = generate(*loaded_.model, *loaded_.tokenizer, prompt, 4, {}, TaskContext());
  EXPECT_EQ(base.ids, dynamic.ids);
}

TEST_F(Generation, EndsWhereItIsDecided) {
  const auto prompt = loaded_.tokenizer->encode(words(20, 0));
  const auto whole = generate(*loaded_.model, *loaded_.tokenizer, prompt, 12, {}, TaskContext());
  ASSERT_EQ(whole.ids.size(), 12u);
  int calls = 0;
  const auto cut = generate(
      *loaded_.model, *loaded_.tokenizer, prompt, 12,
      [&](const std::string&) { return ++calls == 5; }, TaskContext());
  EXPECT_EQ(cut.ids, std::vector<int32_t>(whole.ids.begin(), whole.ids.begin() + 5));
}

TEST_F(Generation, BadPromptsAreUserErrors) {
  const auto run = [&](const std::vector<int32_t>& prompt) {
    generate(*loaded_.model, *loaded_.tokenizer, prompt, 4, {}, TaskContext());
  };
  EXPECT_THROW(run({}), Error);
  EXPECT_THROW(run({5, 1024}), Error);
  EXPECT_THROW(run({-1}), Error);
}

TEST_F(Generation, PromptsBeginAsTheSettingsSay) {
  DatasetSettings settings;
  const auto with_bos = encode_prompt(*loaded_.tokenizer, settings, "the river");
  ASSERT_FALSE(with_bos.empty());
  EXPECT_EQ(with_bos.front(), loaded_.tokenizer->bos_id());
  settings.bos = "yes";
  EXPECT_EQ(encode_prompt(*loaded_.tokenizer, settings, "the river"), with_bos);
  settings.bos = "no";
  EXPECT_EQ(encode_prompt(*loaded_.tokenizer, settings, "the river"),
            std::vector<int32_t>(with_bos.begin() + 1, with_bos.end()));
  settings.instruction_template = true;  // the tiny tokenizer has none
  EXPECT_THROW(encode_prompt(*loaded_.tokenizer, settings, "the river"), Error);
}

}  // namespace
}  // namespace ropesweep::tasks
