// What schemes that change attention ask for: the positions that stand for a query's and a key's,
// against the papers' formulas, and slopes and buckets against transformers 5.23's
// (build_alibi_tensor of Bloom, T5Attention._relative_position_bucket).
#include "experiments/attention_rule.h"

#include <gtest/gtest.h>

#include <cmath>

#include "experiments/error.h"
#include "experiments/position_encoding.h"

namespace ropesweep {
namespace {

const RotaryShape shape = {32, 10000, 2048};

AttentionRule rule_of(const char* scheme) {
  return make_position_encoding(scheme, 1, shape)->attention_rule();
}

TEST(AttentionRule, SlopesAreTransformers) {
  const std::vector<std::pair<int64_t, std::vector<float>>> cases = {
      {8, {0.5F, 0.25F, 0.125F, 0.0625F, 0.03125F, 0.015625F, 0.0078125F, 0.00390625F}},
      {9,
       {0.5F, 0.25F, 0.125F, 0.0625F, 0.03125F, 0.015625F, 0.0078125F, 0.00390625F,
        0.7071067690849304F}},
      {12,
       {0.5F, 0.25F, 0.125F, 0.0625F, 0.03125F, 0.015625F, 0.0078125F, 0.00390625F,
        0.7071067690849304F, 0.3535533845424652F, 0.1767766773700714F, 0.0883883386850357F}}};
  for (const auto& [heads, want] : cases) {
    const std::vector<double> slopes = alibi_slopes(heads);
    ASSERT_EQ(slopes.size(), want.size());
    // There each slope is a power of a float32 number: an error of h/2 of its last places.
    for (size_t i = 0; i < want.size(); ++i)
      EXPECT_NEAR(slopes[i], want[i], 16 * 0x1p-24 * want[i]);
  }
  const std::vector<double> of_32 = alibi_slopes(32);
  EXPECT_NEAR(of_32[0], 0.8408964276313782, 1e-7);
  EXPECT_NEAR(of_32[31], 0.003906251862645149, 1e-8);
}

TEST(AttentionRule, BucketsAreTransformers) {
  struct Case {
    int64_t buckets, max_distance;
    std::vector<int64_t> begins;  ///< the least distance in each bucket
  };
  const std::vector<Case> cases = {
      {32, 128, {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15,
                 16, 19, 21, 24, 27, 31, 35, 40, 46, 52, 59, 67, 77, 87, 99, 113}},
      {16, 50, {0, 1, 2, 3, 4, 5, 6, 7, 8, 11, 13, 16, 20, 26, 32, 40}},
      {7, 20, {0, 1, 2, 3, 5, 8, 13}}};
  for (const Case& test : cases) {
    int64_t want = 0;
    for (int64_t distance = 0; distance < 200; ++distance) {
      const auto next = static_cast<size_t>(want + 1);
      if (next < test.begins.size() && distance == test.begins[next]) ++want;
      EXPECT_EQ(t5_bucket(distance, test.buckets, test.max_distance), want) << distance;
    }
    EXPECT_EQ(t5_reach(test.buckets, test.max_distance), test.begins.back());
  }
}

TEST(AttentionRule, SinusoidsAreThePapers) {
  const std::vector<float> vectors = sinusoidal_vectors(3, 2, 6);
  ASSERT_EQ(vectors.size(), 12U);
  for (int64_t p = 3; p < 5; ++p) {
    for (int64_t i = 0; i < 3; ++i) {
      const double angle = static_cast<double>(p) / std::pow(10000.0, static_cast<double>(i) / 3);
      const auto at = static_cast<size_t>((p - 3) * 6 + 2 * i);
      EXPECT_FLOAT_EQ(vectors[at], static_cast<float>(std::sin(angle)));
      EXPECT_FLOAT_EQ(vectors[at + 1], static_cast<float>(std::cos(angle)));
    }
  }
}

TEST(AttentionRule, SchemesThatOnlyRotateArePlain) {
  for (const char* scheme : {"none", "yarn", "dynamic-ntk", "power(0.5)"}) {
    EXPECT_TRUE(rule_of(scheme).is_plain()) << scheme;
  }
  for (const char* scheme : {"alibi", "t5", "rerope", "leaky-rerope", "self-extend", "dca",
                             "lm-infinite", "streaming", "sinusoidal", "learned", "xpos"}) {
    EXPECT_FALSE(rule_of(scheme).is_plain()) << scheme;
    EXPECT_TRUE(scheme_is_static(scheme)) << scheme;
    EXPECT_FALSE(scheme_takes_scale(scheme)) << scheme;
  }
}

// Whatever the scheme, every key before a query is in one part at most, and the query's own token
// in the first.
TEST(AttentionRule, PartsDoNotOverlap) {
  for (const char* scheme : {"rerope(5)", "self-extend(G=2, W=7)", "lm-infinite(first=3, window=9)",
                             "lm-infinite(first=3, window=3000)", "streaming(first=2, window=4)"}) {
    const AttentionRule rule = rule_of(scheme);
    for (int64_t m : {0, 4, 8, 30, 2047, 2048, 2999, 3500}) {
      for (int64_t n = 0; n <= m; ++n) {
        int parts = 0;
        for (const AttentionPart& part : rule.parts) {
          parts += m - n >= part.nearest && m - n < part.farthest && n < part.first_keys ? 1 : 0;
        }
        ASSERT_LE(parts, 1) << scheme << " " << m << " " << n;
      }
      EXPECT_EQ(rule.parts.front().nearest, 0);
    }
  }
}

TEST(AttentionRule, DefaultsFollowTheOriginalLength) {
  const AttentionRule dca = rule_of("dca");
  EXPECT_EQ(dca.chunk, 2048 * 3 / 4 - 2048 / 8);
  EXPECT_EQ(dca.parts[1].query.at(5), 1285);
  EXPECT_EQ(dca.parts[1].query.at(1000), 1536) << "no position past S";
  EXPECT_EQ(dca.parts[2].query.at(7777), 1536);
  EXPECT_EQ(dca.parts[2].key.at(1281), 1);
  EXPECT_EQ(rule_of("streaming").parts[0].farthest, 2044);
  EXPECT_EQ(rule_of("lm-infinite").parts[0].farthest, 2048);
  EXPECT_EQ(rule_of("learned").table_rows, 2048);
  const AttentionRule rerope = rule_of("rerope");
  EXPECT_EQ(rerope.query_amplitude(100), 1);
  EXPECT_DOUBLE_EQ(rerope.query_amplitude(4095), std::log(4096.0) / std::log(2048.0));
}

TEST(AttentionRule, XPosAmplitudesCancelButForTheDistance) {
  const auto xpos = make_position_encoding("xpos(B=256)", 1, shape);
  const auto base = make_position_encoding("none", 1, shape);
  const RotaryTable got = xpos->table(0, 2048, 2048), plain = base->table(0, 2048, 2048);
  const auto at = [](int64_t m, int64_t i) { return static_cast<size_t>(m * 16 + i); };
  for (const auto& [m, n] : {std::pair{1024, 1024}, std::pair{1500, 1000}, std::pair{2047, 0}}) {
    for (int64_t i : {0, 7, 15}) {
      const double zeta = (2 * static_cast<double>(i) + 0.4 * 32) / (1.4 * 32);
      const double want = std::pow(zeta, static_cast<double>(m - n) / 256);
      const double query = std::hypot(got.query_cos[at(m, i)], got.query_sin[at(m, i)]);
      const double key = std::hypot(got.key_cos[at(n, i)], got.key_sin[at(n, i)]);
      EXPECT_NEAR(query * key, want, 1e-6 * want);
      EXPECT_NEAR(got.query_cos[at(m, i)] / query, plain.query_cos[at(m, i)], 1e-6);
      EXPECT_NEAR(got.key_sin[at(n, i)] / key, plain.key_sin[at(n, i)], 1e-6);
    }
  }
}

TEST(AttentionRule, XPosAnnealsItsBaseStepByStep) {
  const auto scheme = make_position_encoding("xpos(B=512, anneal=8192)", 1, shape);
  const auto table_with = [](const char* text) {
    return make_position_encoding(text, 1, shape)->table(1800, 1, 2048).query_cos;
  };
  const auto table_at = [&](int64_t step) {
    return scheme->at_step(step)->table(1800, 1, 2048).query_cos;
  };
  EXPECT_EQ(table_at(1), table_with("xpos(B=8192)"));
  EXPECT_EQ(table_at(11), table_with("xpos(B=8112)"));
  EXPECT_EQ(table_at(961), table_with("xpos(B=512)"));
  EXPECT_EQ(table_at(5000), table_with("xpos(B=512)"));
  EXPECT_EQ(scheme->table(1800, 1, 2048).query_cos, table_with("xpos(B=512)"));
  EXPECT_EQ(make_position_encoding("xpos", 1, shape)->at_step(1), nullptr);
  EXPECT_EQ(make_position_encoding("yarn", 4, shape)->at_step(1), nullptr);
}

std::string failure(const char* scheme) {
  try {
    make_position_encoding(scheme, 1, shape)->table(0, 30000, 30000);
    return "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), FailureKind::user);
    return error.what();
  }
}

TEST(AttentionRule, ErrorsNameTheOption) {
  EXPECT_EQ(failure("self-extend(G=2.5)"),
            "scheme self-extend: option G must be a whole number, not 2.5");
  EXPECT_EQ(failure("dca(size=100, window=100)"),
            "scheme dca: window must be less than size, 100 and 100 were given");
  EXPECT_EQ(failure("t5(buckets=64, max_distance=32)"),
            "scheme t5: needs at least 2 buckets and a max_distance past half of them; 64 buckets, "
            "max_distance 32 were given");
  EXPECT_EQ(failure("leaky-rerope(k=0.5)"),
            "scheme leaky-rerope: option k must be at least 1, not 0.5");
  EXPECT_NE(failure("xpos(B=64)").find("past float32's range"), std::string::npos);
}

}  // namespace
}  // namespace ropesweep
