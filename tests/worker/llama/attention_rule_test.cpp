// Schemes that change attention against a Llama in f64 that has their definition, pair by pair:
// losses, gradients, decoding, shared passes. Lengths cross every window's and chunk's border.
#include <gtest/gtest.h>

#include "experiments/error.h"
#include "tests/worker/llama/group_fixtures.h"
#include "tests/worker/llama/naive_llama.h"

namespace ropesweep::llama {
namespace {

using backend::Dtype;

struct Case {
  const char* scheme;
  int64_t tokens;
  std::function<NaivePair(int64_t m, int64_t n, int64_t head)> pair;
  bool interleaved = false;
};

double as_double(int64_t x) { return static_cast<double>(x); }

/// ln(m + 1) / ln 256, at least 1: the fixtures' original length is 256.
double logarithmic(int64_t m) {
  return std::max(1.0, std::log(as_double(m) + 1) / std::log(256.0));
}

/// Dual chunk attention with chunks of c and a greatest position s.
NaivePair dual_chunk(int64_t m, int64_t n, int64_t c, int64_t s) {
  const int64_t apart = m / c - n / c;
  const int64_t query = apart == 0   ? m % c
                        : apart == 1 ? std::min(m % c + c, s)
                                     : std::min(2 * c - 1, s);
  return {.turned = as_double(query - n % c)};
}

/// Some of these lengths end a few tokens past a border: those few queries are a block of theirs.
const std::vector<Case>& cases() {
  static const std::vector<Case> all = {
      // 9 heads: the slopes of 8, and the first of 16.
      {"alibi", 140,
       [](int64_t m, int64_t n, int64_t head) {
         const double slope = head < 8 ? std::pow(2.0, -as_double(head + 1)) : std::pow(2.0, -0.5);
         return NaivePair{.bias = -slope * as_double(m - n)};
       }},
      {"rerope(16)", 140,
       [](int64_t m, int64_t n, int64_t) {
         return NaivePair{.turned = as_double(std::min<int64_t>(m - n, 16)),
                          .amplitude = logarithmic(m)};
       }},
      {"rerope(200)", 300,
       [](int64_t m, int64_t n, int64_t) {
         return NaivePair{.turned = as_double(std::min<int64_t>(m - n, 200)),
                          .amplitude = logarithmic(m)};
       }},
      {"leaky-rerope(w=20, k=3)", 140,
       [](int64_t m, int64_t n, int64_t) {
         const int64_t j = m - n;
         return NaivePair{.turned = j < 20 ? as_double(j) : 20 + as_double(j - 20) / 3,
                          .amplitude = logarithmic(m)};
       }},
      {"self-extend(G=4, W=18)", 140,
       [](int64_t m, int64_t n, int64_t) {
         const int64_t far = m / 4 - n / 4 + 18 - 18 / 4;
         return NaivePair{.turned = as_double(m - n < 18 ? m - n : far)};
       }},
      {"dca(size=48, window=12)", 147,
       [](int64_t m, int64_t n, int64_t) { return dual_chunk(m, n, 36, 48); }},
      {"dca(size=20, window=0)", 87,
       [](int64_t m, int64_t n, int64_t) { return dual_chunk(m, n, 20, 20); }},
      {"lm-infinite(first=3, window=20)", 300,
       [](int64_t m, int64_t n, int64_t) {
         return NaivePair{.seen = m - n < 20 || n < 3,
                          .turned = as_double(std::min<int64_t>(m - n, 256))};
       }},
      {"lm-infinite(first=2, window=270)", 300,
       [](int64_t m, int64_t n, int64_t) {
         return NaivePair{.seen = m - n < 270 || n < 2,
                          .turned = as_double(std::min<int64_t>(m - n, 256))};
       }},
      {"streaming(first=4, window=30)", 140,
       [](int64_t m, int64_t n, int64_t) {
         const bool recent = m - n < 30;
         return NaivePair{
             .seen = recent || n < 4,
             .turned = as_double(recent ? m - n : std::min<int64_t>(m, 4 + 30 - 1) - n)};
       }},
      {"streaming(first=0, window=17)", 70,
       [](int64_t m, int64_t n, int64_t) {
         return NaivePair{.seen = m - n < 17, .turned = as_double(m - n)};
       }},
      {"xpos(B=64)", 140,
       [](int64_t m, int64_t n, int64_t) {
         return NaivePair{.turned = as_double(m - n), .decay = as_double(m - n) / 64};
       }},
      {"xpos(B=128, center=50, layout=interleaved)", 140,
       [](int64_t m, int64_t n, int64_t) {
         return NaivePair{.turned = as_double(m - n), .decay = as_double(m - n) / 128};
       },
       true},
      {"sinusoidal", 90, [](int64_t, int64_t, int64_t) { return NaivePair{}; }},
  };
  return all;
}

NaiveScheme naive_scheme(const Case& test, int64_t width) {
  NaiveScheme scheme{.pair = test.pair, .interleaved = test.interleaved};
  if (std::string(test.scheme) == "sinusoidal") {
    scheme.added = [width](int64_t m, int64_t e) {
      const double angle =
          as_double(m) * std::pow(10000.0, -as_double(e - e % 2) / as_double(width));
      return e % 2 == 0 ? std::sin(angle) : std::cos(angle);
    };
  }
  return scheme;
}

// f32's rounding over two layers of sums.
constexpr double kTolerance = 2e-5;

class Rule : public testing::TestWithParam<Case> {
 protected:
  int64_t tokens() const {
    return is_slow() ? std::min<int64_t>(GetParam().tokens, 60) : GetParam().tokens;
  }
};

TEST_P(Rule, LossesAreTheDefinitions) {
  TestModel test("grouped_tied");
  test.use(GetParam().scheme, 1);
  const NaiveLlama naive(*test.backend, test.config, test.model->weights(),
                         naive_scheme(GetParam(), test.config.width));
  const std::vector<int32_t> ids = token_ids(tokens(), 21);
  const std::vector<double> want = naive.losses(ids);
  const std::vector<float> got = test.model->token_losses(ids, next_tokens(ids, tokens()), 1);
  for (size_t t = 0; t < want.size(); ++t) {
    EXPECT_NEAR(got[t], want[t], kTolerance * want[t]) << GetParam().scheme << ", token " << t;
  }
}

// The loss under another scheme is another: the tests above would see a scheme that does nothing.
TEST_P(Rule, DiffersFromTheBaseModels) {
  if (is_slow()) GTEST_SKIP() << kTooLong;
  TestModel test("grouped_tied");
  const std::vector<int32_t> ids = token_ids(tokens(), 21);
  const std::vector<int32_t> targets = next_tokens(ids, tokens());
  const std::vector<float> base = test.model->token_losses(ids, targets, 1);
  test.use(GetParam().scheme, 1);
  EXPECT_GT(relative_difference(test.model->token_losses(ids, targets, 1), base), 1e-3);
}

TEST_P(Rule, GradientsAreTheDefinitionsSlopes) {
  if (is_slow()) GTEST_SKIP() << kTooLong;
  TestModel test("grouped_tied");
  test.use(GetParam().scheme, 1);
  const int64_t length = std::min<int64_t>(tokens(), 96);
  const std::vector<int32_t> ids = token_ids(length, 22);
  const Weights gradients = zeros_like(*test.backend, test.model->weights());
  test.model->accumulate_gradients(ids, next_tokens(ids, length), 1, 1, gradients, Recompute::none);
  NaiveLlama naive(*test.backend, test.config, test.model->weights(),
                   naive_scheme(GetParam(), test.config.width));
  for (const NamedTensor& named : named_tensors(gradients)) {
    const bool asked = named.name.find("layers.0.self_attn") != std::string::npos ||
                       named.name.find("embed_tokens") != std::string::npos;
    if (!asked) continue;
    const std::vector<float> gradient = host_values(*test.backend, named.tensor);
    const auto steepest = std::max_element(gradient.begin(), gradient.end(), [](float a, float b) {
      return std::abs(a) < std::abs(b);
    });
    const double scale = std::abs(double{*steepest});
    for (const auto element :
         {static_cast<size_t>(steepest - gradient.begin()), gradient.size() / 3}) {
      double& weight = naive.weights.at(named.name)[element];
      const double kept = weight;
      constexpr double change = 1e-5;
      const auto loss_at = [&](double value) {
        weight = value;
        double sum = 0;
        for (const double loss : naive.losses(ids)) sum += loss;
        return sum;
      };
      const double slope = (loss_at(kept + change) - loss_at(kept - change)) / (2 * change);
      weight = kept;
      EXPECT_NEAR(gradient[element], slope, 1e-4 * scale) << named.name << " " << element;
    }
  }
}

// A batch's sequences, whatever is recomputed, and in bf16 within its rounding.
TEST_P(Rule, RecomputationAndBatchesChangeNoBit) {
  for (const Dtype type : {Dtype::f32, Dtype::bf16}) {
    if (is_slow() && type == Dtype::bf16) continue;
    TestModel test("head_96", type);
    test.use(GetParam().scheme, 1);
    const std::vector<int32_t> ids = token_ids(2 * tokens(), 23);
    const std::vector<int32_t> targets = next_tokens(ids, tokens());
    const auto gradients_of = [&](Recompute recompute) {
      const Weights gradients = zeros_like(*test.backend, test.model->weights());
      test.model->accumulate_gradients(ids, targets, 2, 0.01, gradients, recompute);
      std::vector<float> values;
      for (const NamedTensor& named : named_tensors(gradients)) {
        const std::vector<float> of_one = host_values(*test.backend, named.tensor);
        values.insert(values.end(), of_one.begin(), of_one.end());
      }
      return values;
    };
    const std::vector<float> kept = gradients_of(Recompute::none);
    EXPECT_EQ(gradients_of(Recompute::all_but_attention), kept);
    EXPECT_EQ(gradients_of(Recompute::layer), kept);
    const std::vector<float> both = test.model->token_losses(ids, targets, 2);
    const auto half = static_cast<size_t>(tokens());
    const std::vector<float> second =
        test.model->token_losses(std::span(ids).subspan(half), std::span(targets).subspan(half), 1);
    EXPECT_EQ(second, std::vector<float>(both.begin() + tokens(), both.end()));
    if (type == Dtype::bf16) {
      TestModel wide("head_96");
      wide.use(GetParam().scheme, 1);
      EXPECT_LT(relative_difference(both, wide.model->token_losses(ids, targets, 2)), 0.01);
    }
  }
}

// What fused truncated perplexity rests on.
TEST_P(Rule, LossesOfAPrefixAreItsOwnToTheBit) {
  if (is_slow()) GTEST_SKIP() << kTooLong;
  for (const Dtype type : {Dtype::f32, Dtype::bf16}) {
    TestModel test("grouped_tied", type, 2);
    test.use(GetParam().scheme, 1);
    const std::vector<int32_t> ids = token_ids(tokens(), 24);
    const std::vector<int32_t> targets = next_tokens(ids, tokens());
    const std::vector<float> whole = test.model->token_losses(ids, targets, 1);
    for (size_t length = 9; length < ids.size(); length += length < 50 ? 1 : 7) {
      const std::vector<float> part = test.model->token_losses(std::span(ids).first(length),
                                                               std::span(targets).first(length), 1);
      EXPECT_EQ(part, std::vector<float>(whole.begin(), whole.begin() + static_cast<long>(length)))
          << GetParam().scheme << " at " << length;
    }
  }
}

// Token by token from the first on, and after a prompt.
TEST_P(Rule, DecodingEqualsOnePassAtEveryPosition) {
  if (is_slow()) GTEST_SKIP() << kTooLong;
  TestModel test("grouped_tied");
  test.use(GetParam().scheme, 1);
  const std::vector<int32_t> ids = token_ids(tokens(), 25);
  const std::vector<float> whole = test.model->logits(ids, 1);
  const auto width = static_cast<size_t>(test.config.vocabulary);
  for (const size_t prompt : {size_t{1}, ids.size() / 2}) {
    KvCache cache(*test.backend, test.config, Dtype::f32, tokens());
    for (size_t i = 0; i < ids.size();) {
      const size_t count = i == 0 ? prompt : 1;
      const std::vector<float> last = test.model->extend(cache, std::span(ids).subspan(i, count));
      i += count;
      EXPECT_LT(relative_difference(last, std::span(whole).subspan((i - 1) * width, width)),
                kTolerance)
          << "position " << i - 1;
    }
    EXPECT_FALSE(cache.rotated);
  }
}

TEST_P(Rule, ASequenceOverThreeRanksTrainsAsOneRankDoes) {
  if (is_slow()) GTEST_SKIP() << "runs on the CPU's backend";
  const int64_t length = std::min<int64_t>(tokens(), 101);
  const std::vector<int32_t> ids = token_ids(length, 26), targets = next_tokens(ids, length);
  const auto gradients_of = [&](Member& member) {
    member.model.use_positions(make_position_encoding(GetParam().scheme, 1, member.config.rotary));
    member.model.accumulate_gradients(ids, targets, 1, 0.01, member.optimizer.gradients(),
                                      Recompute::all_but_attention);
    return all_values(member.model, member.optimizer.gradients());
  };
  const auto whole = backend::make_cpu_backend(1);
  Member alone(*whole, nullptr, "grouped_tied");
  const std::vector<float> want = gradients_of(alone);
  const std::vector<float> losses = alone.model.token_losses(ids, targets, 1);
  backend::as_group(3, [&](backend::Backend& backend, backend::Collective& group) {
    Member member(backend, &group, "grouped_tied");
    member.model.split_sequences(&group);
    EXPECT_LE(relative_difference(gradients_of(member), want), as_double(length) * kRounding);
    EXPECT_LE(relative_difference(member.model.token_losses(ids, targets, 1), losses),
              as_double(length) * kRounding);
  });
}

INSTANTIATE_TEST_SUITE_P(Schemes, Rule, testing::ValuesIn(cases()), [](const auto& test) {
  std::string name;
  for (const char letter : std::string(test.param.scheme)) {
    if (std::isalnum(static_cast<unsigned char>(letter)) != 0) name += letter;
  }
  return name;
});

TEST(Rules, AreNotRecorded) {
  TestModel test("multi_head");
  test.use("alibi", 1);
  const std::vector<int32_t> ids = token_ids(10, 16);
  KvCache cache(*test.backend, test.config, Dtype::f32, 20);
  test.model->extend(cache, ids);
  test.model->extend_greedily(cache, std::span(ids).first(1));
  EXPECT_EQ(cache.step, nullptr);
  EXPECT_EQ(cache.length, 11);
}

}  // namespace
}  // namespace ropesweep::llama
