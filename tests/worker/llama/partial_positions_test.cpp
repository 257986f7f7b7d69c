// Heads that are rotated in part, and positions that follow the length, through the whole model.
#include <gtest/gtest.h>

#include "tests/worker/llama/fixtures.h"

namespace ropesweep::llama {
namespace {

using backend::Dtype;

constexpr int64_t head_dim = 32;

/// Where element `old` of a head goes so that the pairs (i, i + 8) of its first half become the
/// pairs (i, i + 16) of a whole head, and the unrotated half the pairs that remain.
int64_t place_of(int64_t old) {
  if (old < 8) return old;
  if (old < 16) return old + 8;
  return old < 24 ? old - 8 : old;
}

/// The model with the elements of every query's and key's head in new places.
void move_elements(TestModel& test) {
  for (const Layer& layer : test.model->weights().layers) {
    for (const backend::Tensor& matrix : {layer.query, layer.key}) {
      const std::vector<float> before = host_values(*test.backend, matrix);
      std::vector<float> after(before.size());
      const int64_t width = matrix.shape()[1];
      for (int64_t row = 0; row < matrix.shape()[0]; ++row) {
        const int64_t to = row / head_dim * head_dim + place_of(row % head_dim);
        std::copy_n(before.begin() + row * width, width, after.begin() + to * width);
      }
      test.backend->upload(matrix, after.data());
    }
  }
}

// The same rotation said in two ways: part of a head with its own pairs, or a whole head whose
// other pairs have frequency 0.
TEST(PartialPositions, EqualAWholeHeadOfMovedElements) {
  TemporaryFolder folder;
  std::string frequencies;
  for (int i = 0; i < 16; ++i) {
    frequencies += fmt::format("{}\n", i < 8 ? std::pow(10000.0, -2.0 * i / 16) : 0.0);
  }
  write_bytes(folder / "frequencies.txt", frequencies);
  TestModel part("multi_head");
  ASSERT_EQ(part.config.head_dim, head_dim);
  part.use("partial(0.5)", 1);
  TestModel whole("multi_head");
  move_elements(whole);
  whole.use(fmt::format("file({})", (folder / "frequencies.txt").string()), 1);
  const std::vector<int32_t> ids = token_ids(150, 5);
  const std::vector<float> logits = part.model->logits(ids, 1);
  EXPECT_LT(relative_difference(logits, whole.model->logits(ids, 1)), 2e-5);
  whole.use("none", 1);
  EXPECT_GT(relative_difference(logits, whole.model->logits(ids, 1)), 1e-2);
}

TEST(PartialPositions, DecodingEqualsOnePass) {
  TestModel test("grouped_tied");
  test.use("partial(0.25, yarn)", 4);
  const std::vector<int32_t> ids = token_ids(60, 11);
  const std::vector<float> whole = test.model->logits(ids, 1);
  KvCache cache(*test.backend, test.config, Dtype::f32, 60);
  for (size_t i = 0; i < ids.size();) {
    const size_t count = i == 0 ? 50 : 1;
    const std::vector<float> last = test.model->extend(cache, std::span(ids).subspan(i, count));
    i += count;
    const auto row = whole.begin() + (static_cast<int64_t>(i) - 1) * test.config.vocabulary;
    EXPECT_LT(relative_difference(last, {row, row + test.config.vocabulary}), 2e-5) << i;
  }
}

// One layer: keys depend on their tokens alone, so a pass of the current length gives the same.
TEST(LengthDependentPositions, KeysAreRotatedForTheCurrentLength) {
  TestModel test("types/f32");
  ASSERT_EQ(test.config.layers, 1);
  RotaryShape shape = test.config.rotary;
  for (int64_t i = 0; i < shape.head_dim / 2; ++i) {
    shape.short_factor.push_back(1 + 0.1 * static_cast<double>(i));
    shape.long_factor.push_back(2 + 0.3 * static_cast<double>(i));
  }
  for (const char* scheme : {"longrope", "dynamic-yarn", "resonance(dynamic-linear)"}) {
    test.model->use_positions(make_position_encoding(scheme, 4, shape));
    const auto original = static_cast<int64_t>(shape.original_length);
    const std::vector<int32_t> ids = token_ids(original + 4, 12, test.config.vocabulary);
    KvCache cache(*test.backend, test.config, Dtype::f32, original + 4);
    for (size_t i = 0; i < ids.size();) {
      const size_t count = i == 0 ? static_cast<size_t>(original) - 2 : 1;
      const std::vector<float> last = test.model->extend(cache, std::span(ids).subspan(i, count));
      i += count;
      const std::vector<float> pass = test.model->logits(std::span(ids).first(i), 1);
      const auto row = pass.end() - test.config.vocabulary;
      EXPECT_LT(relative_difference(last, {row, pass.end()}), 1e-5) << scheme << " length " << i;
    }
  }
}

}  // namespace
}  // namespace ropesweep::llama
