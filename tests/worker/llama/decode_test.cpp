// Decoding with a cache gives what one pass over the whole sequence gives, at every position.
#include <gtest/gtest.h>

#include "tests/worker/llama/fixtures.h"

namespace ropesweep::llama {
namespace {

using backend::Dtype;

std::vector<float> row_of(const std::vector<float>& logits, int64_t row, int64_t width) {
  const auto first = logits.begin() + row * width;
  return {first, first + width};
}

// The same sums by other kernels. f32: rounding over two layers. bf16: both results err from f32 by
// up to 0.024 (expected.json, bf16_deviation, PyTorch's), independently, hence √2 times that apart.
double tolerance_of(Dtype type) { return type == Dtype::f32 ? 2e-5 : 0.035; }

class Decode : public testing::TestWithParam<std::tuple<const char*, Dtype>> {
 protected:
  Decode() : test_(std::get<0>(GetParam()), std::get<1>(GetParam()), 2) {}
  KvCache new_cache(int64_t capacity) {
    return KvCache(*test_.backend, test_.config, std::get<1>(GetParam()), capacity);
  }
  double tolerance() const { return tolerance_of(std::get<1>(GetParam())); }

  TestModel test_;
};

TEST_P(Decode, AStaticSchemesTokensEqualOnePassAtEveryPosition) {
  test_.use("yarn", 4);
  const std::vector<int32_t> ids = token_ids(150, 11);
  const std::vector<float> whole = test_.model->logits(ids, 1);
  KvCache cache = new_cache(150);
  for (size_t i = 0; i < ids.size();) {
    const size_t count = i == 0 ? 100 : 1;  // a prompt, then token by token
    const std::vector<float> last = test_.model->extend(cache, std::span(ids).subspan(i, count));
    i += count;
    const auto row = static_cast<int64_t>(i) - 1;
    EXPECT_LT(relative_difference(last, row_of(whole, row, test_.config.vocabulary)), tolerance())
        << "position " << row;
  }
  EXPECT_TRUE(cache.rotated);
  EXPECT_EQ(cache.length, 150);
}

INSTANTIATE_TEST_SUITE_P(ShapesAndTypes, Decode,
                         testing::Combine(testing::ValuesIn(shapes),
                                          testing::Values(Dtype::f32, Dtype::bf16)),
                         [](const auto& parameters) {
                           return std::string(std::get<0>(parameters.param)) + "_" +
                                  backend::name_of(std::get<1>(parameters.param));
                         });

// Past the original length (256) every token changes the rotation of all keys before it. With one
// layer, keys and values depend on their tokens alone, so a pass of the current length must give
// the same; deeper models differ by design: what earlier tokens saw was rotated for a shorter
// length.
TEST(KvCache, ADynamicSchemesKeysAreRotatedForTheCurrentLength) {
  TestModel test("types/f32");
  ASSERT_EQ(test.config.layers, 1);
  test.use("dynamic-ntk", 2);
  const std::vector<int32_t> ids = token_ids(300, 12, test.config.vocabulary);
  KvCache cache(*test.backend, test.config, Dtype::f32, 300);
  for (size_t i = 0; i < ids.size();) {
    const size_t count = i == 0 ? 250 : 1;
    const std::vector<float> last = test.model->extend(cache, std::span(ids).subspan(i, count));
    i += count;
    const std::vector<float> pass = test.model->logits(std::span(ids).first(i), 1);
    EXPECT_LT(relative_difference(
                  last, row_of(pass, static_cast<int64_t>(i) - 1, test.config.vocabulary)),
              1e-5)
        << "length " << i;
  }
  EXPECT_FALSE(cache.rotated);
}

TEST(KvCache, ASharedPrefixStaysAfterTruncation) {
  TestModel test("grouped_tied");
  const std::vector<int32_t> ids = token_ids(90, 13);
  KvCache cache(*test.backend, test.config, Dtype::f32, 90);
  test.model->extend(cache, std::span(ids).first(60));
  const std::vector<float> once = test.model->extend(cache, std::span(ids).subspan(60));
  cache.truncate(60);
  EXPECT_EQ(cache.length, 60);
  test.model->extend(cache, std::span(ids).first(5));
  cache.truncate(60);
  EXPECT_EQ(test.model->extend(cache, std::span(ids).subspan(60)), once);
}

// Longer than the chunks in which a prompt passes through the layers.
TEST(KvCache, ALongPromptEqualsOnePass) {
  if (is_slow()) GTEST_SKIP() << kTooLong;
  TestModel test("multi_head", Dtype::f32, 2);
  for (const auto& [scheme, scale] : {std::pair{"linear", 16.0}, std::pair{"dynamic-ntk", 2.0}}) {
    test.use(scheme, scale);
    const std::vector<int32_t> ids = token_ids(2500, 14);
    KvCache cache(*test.backend, test.config, Dtype::f32, 2500);
    const std::vector<float> last = test.model->extend(cache, ids);
    const std::vector<float> whole = test.model->logits(ids, 1);
    EXPECT_LT(relative_difference(last, row_of(whole, 2499, test.config.vocabulary)), 2e-5)
        << scheme;
  }
}

TEST(KvCache, RefusesWhatDoesNotFit) {
  TestModel test("multi_head");
  KvCache cache(*test.backend, test.config, Dtype::f32, 10);
  const std::vector<int32_t> ids = token_ids(11, 1);
  EXPECT_THROW(test.model->extend(cache, ids), std::invalid_argument);
  EXPECT_THROW(test.model->extend(cache, {}), std::invalid_argument);
  test.model->extend(cache, std::span(ids).first(5));
  test.use("dynamic-ntk", 2);  // its keys would have to be unrotated
  EXPECT_THROW(test.model->extend(cache, std::span(ids).first(1)), std::invalid_argument);
}

}  // namespace
}  // namespace ropesweep::llama
