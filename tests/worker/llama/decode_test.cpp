// Decoding with a cache gives what one pass over the whole sequence gives, at every position.
#include <gtest/gtest.h>

#include <algorithm>

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

int32_t likeliest(const std::vector<float>& logits) {
  return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

/// All that a cache holds.
std::vector<float> held(backend::Backend& backend, const KvCache& cache) {
  std::vector<float> values;
  for (const auto* tensors : {&cache.keys, &cache.values}) {
    for (const backend::Tensor& tensor : *tensors) {
      const std::vector<float> of_one = host_values(backend, tensor.rows(0, cache.length));
      values.insert(values.end(), of_one.begin(), of_one.end());
    }
  }
  return values;
}

// From key 120 on, over the border at which a device splits the keys (128), and again after some
// of the tokens were taken back.
TEST_P(Decode, RecordedTokensHaveTheBitsOfTokensThatAreNot) {
  test_.use("yarn", 4);
  const std::vector<int32_t> prompt = token_ids(120, 12);
  KvCache eager = new_cache(140), recorded = new_cache(140);
  int32_t want = likeliest(test_.model->extend(eager, prompt));
  EXPECT_EQ(test_.model->extend_greedily(recorded, prompt), want);
  EXPECT_EQ(recorded.step, nullptr);
  const auto decode = [&](int count) {
    for (int i = 0; i < count; ++i) {
      const int32_t id = want;
      want = likeliest(test_.model->extend(eager, std::span(&id, 1)));
      EXPECT_EQ(test_.model->extend_greedily(recorded, std::span(&id, 1)), want);
      ASSERT_NE(recorded.step, nullptr);
    }
    EXPECT_EQ(recorded.length, eager.length);
    EXPECT_TRUE(held(*test_.backend, recorded) == held(*test_.backend, eager));
  };
  decode(12);
  const DecodeStep* const step = recorded.step.get();
  for (KvCache* cache : {&eager, &recorded}) {
    cache->truncate(118);
    test_.model->extend(*cache, std::span(prompt).first(6));
  }
  decode(16);
  EXPECT_EQ(recorded.step.get(), step) << "recorded once";
  EXPECT_EQ(recorded.length, recorded.capacity);
  EXPECT_THROW(test_.model->extend_greedily(recorded, std::span(&want, 1)), std::invalid_argument);
}

INSTANTIATE_TEST_SUITE_P(ShapesAndTypes, Decode,
                         testing::Combine(testing::ValuesIn(shapes),
                                          testing::Values(Dtype::f32, Dtype::bf16)),
                         [](const auto& parameters) {
                           return std::string(std::get<0>(parameters.param)) + "_" +
                                  backend::name_of(std::get<1>(parameters.param));
                         });

// A recording is of a model, its positions and a cache; a change of one is a recording anew.
TEST(Recorded, OtherPositionsAndModelsAreRecordedAnew) {
  TestModel test("multi_head");
  TestModel other("multi_head");
  const std::vector<int32_t> ids = token_ids(40, 15);
  KvCache cache(*test.backend, test.config, Dtype::f32, 64);
  const auto next = [&](const std::string& scheme) {
    test.use(scheme, 4);
    cache.truncate(0);
    test.model->extend(cache, ids);
    KvCache fresh(*other.backend, other.config, Dtype::f32, 64);
    other.use(scheme, 4);
    other.model->extend(fresh, ids);
    for (const int32_t id : {5, 9, 60}) {
      const int32_t want = likeliest(other.model->extend(fresh, std::span(&id, 1)));
      EXPECT_EQ(test.model->extend_greedily(cache, std::span(&id, 1)), want) << scheme;
    }
    EXPECT_TRUE(held(*test.backend, cache) == held(*other.backend, fresh)) << scheme;
    return cache.step;
  };
  const auto linear = next("linear"), yarn = next("yarn");
  EXPECT_NE(linear, yarn);
  EXPECT_NE(linear, nullptr);
  // A copy shares storage and recording, and outlives what it was copied from.
  auto copy = std::make_unique<KvCache>(cache);
  const int32_t id = 7;
  const int32_t want = test.model->extend_greedily(*copy, std::span(&id, 1));
  copy.reset();
  EXPECT_EQ(test.model->extend_greedily(cache, std::span(&id, 1)), want);
  // Another model over the same cache.
  Model twin(*test.backend, test.config,
             load_weights(*test.backend, fixture("multi_head"), test.config, Dtype::f32));
  twin.use_positions(make_position_encoding("yarn", 4, test.config.rotary));
  cache.truncate(cache.length - 1);
  EXPECT_EQ(twin.extend_greedily(cache, std::span(&id, 1)), want);
  EXPECT_NE(cache.step, yarn);
}

TEST(Recorded, SchemesThatDependOnTheLengthAreNot) {
  TestModel test("multi_head");
  test.use("dynamic-ntk", 2);
  const std::vector<int32_t> ids = token_ids(10, 16);
  KvCache cache(*test.backend, test.config, Dtype::f32, 20);
  test.model->extend(cache, ids);
  test.model->extend_greedily(cache, std::span(ids).first(1));
  EXPECT_EQ(cache.step, nullptr);
  EXPECT_EQ(cache.length, 11);
}

TEST(Recorded, RefusesIdsThatAreNone) {
  TestModel test("multi_head");
  KvCache cache(*test.backend, test.config, Dtype::f32, 20);
  for (const int32_t id : {-1, 96}) {
    EXPECT_ANY_THROW(test.model->extend_greedily(cache, std::span(&id, 1)));
  }
  EXPECT_EQ(cache.length, 0);
}

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
