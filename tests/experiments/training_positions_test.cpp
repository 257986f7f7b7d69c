// Positions of training alone: their law, and that they depend on seed and sequence only.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "experiments/position_encoding.h"

namespace ropesweep {
namespace {

const RotaryShape shape = {32, 10000, 1024};

TEST(TrainingPositions, AreTheUsualOnesUnderOtherSchemes) {
  for (const char* scheme : {"none", "yarn", "alibi", "dynamic-ntk"}) {
    EXPECT_TRUE(make_position_encoding(scheme, 4, shape)->training_positions(10, 1, 0).empty());
  }
  // Scale 1 is the base model's own, in training too.
  EXPECT_TRUE(make_position_encoding("pose", 1, shape)->training_positions(10, 1, 0).empty());
}

TEST(TrainingPositions, OfRandomGrowByStepsOfOneOnAverage) {
  const auto random = make_position_encoding("random", 1, shape);
  EXPECT_EQ(random->scheme(), "random");
  EXPECT_TRUE(random->attention_rule().is_plain());
  constexpr int64_t tokens = 1000;
  double steps = 0, squares = 0;
  int reached = 0;
  for (int64_t sequence = 0; sequence < 200; ++sequence) {
    const std::vector<double> t = random->training_positions(tokens, 7, sequence);
    ASSERT_EQ(t.size(), static_cast<size_t>(tokens));
    EXPECT_TRUE(std::is_sorted(t.begin(), t.end()));
    EXPECT_GE(t.front(), 0);
    EXPECT_LE(t.back(), tokens * (1 + 1e-12)) << "none past the length";
    reached += t.back() > tokens * (1 - 1e-12) ? 1 : 0;
    for (size_t m = 1; m < t.size(); ++m) {
      steps += t[m] - t[m - 1];
      squares += (t[m] - t[m - 1]) * (t[m] - t[m - 1]);
    }
  }
  // 2·U has mean 1 and mean square 4/3. Half of the sums are past the length, and squeezed to it:
  // by 0.4 of their deviation √(1000/3) on average, below 1 %.
  EXPECT_NEAR(steps / 199'800, 1, 0.02);
  EXPECT_NEAR(squares / 199'800, 4.0 / 3, 0.04);
  EXPECT_GT(reached, 70);
  EXPECT_LT(reached, 130);
}

TEST(TrainingPositions, OfPoseAreTwoChunksWithAGap) {
  const auto pose = make_position_encoding("pose", 8, shape);
  constexpr int64_t tokens = 1024;
  std::set<int64_t> splits;
  double last = 0, gaps = 0;
  for (int64_t sequence = 0; sequence < 500; ++sequence) {
    const std::vector<double> t = pose->training_positions(tokens, 3, sequence);
    int64_t split = 0;
    for (int64_t m = 0; m < tokens; ++m) {
      if (m > 0 && t[static_cast<size_t>(m)] != t[static_cast<size_t>(m - 1)] + 1) {
        EXPECT_EQ(split, 0) << "one gap";
        split = m;
      }
      EXPECT_EQ(t[static_cast<size_t>(m)], std::floor(t[static_cast<size_t>(m)]));
    }
    EXPECT_EQ(t[0], 0);
    EXPECT_LE(split, 512);
    EXPECT_LE(t.back(), 8 * 1024 - 1);
    last = std::max(last, t.back());
    gaps += t.back() - (tokens - 1);
    splits.insert(split);
  }
  EXPECT_GT(last, 8 * 1024 - 200) << "the whole target length is seen";
  EXPECT_NEAR(gaps / 500, 7 * 512, 4 * 7 * 1024 / std::sqrt(12.0 * 500));
  EXPECT_GT(splits.size(), 250U);
}

TEST(TrainingPositions, DependOnSeedAndSequence) {
  for (const char* scheme : {"random", "pose"}) {
    const auto once = make_position_encoding(scheme, 4, shape);
    const auto again = make_position_encoding(scheme, 4, shape);
    EXPECT_EQ(once->training_positions(50, 3, 17), again->training_positions(50, 3, 17));
    EXPECT_NE(once->training_positions(50, 3, 17), once->training_positions(50, 3, 18));
    EXPECT_NE(once->training_positions(50, 3, 17), once->training_positions(50, 4, 17));
  }
}

TEST(TrainingPositions, PosesMapIsTheInnerOne) {
  for (const char* map : {"linear", "ntk", "yarn", "none"}) {
    const std::string scheme = std::string("pose(") + map + ")";
    const FrequencyMap got = make_position_encoding(scheme, 8, shape)->map(0);
    const FrequencyMap want = make_position_encoding(map, 8, shape)->map(0);
    EXPECT_EQ(got.inv_freq, want.inv_freq) << map;
    EXPECT_EQ(got.query_amplitude, want.query_amplitude) << map;
  }
  EXPECT_EQ(canonical_scheme("pose(linear)"), "pose");
  EXPECT_EQ(canonical_scheme("pose(map=ntk)"), "pose(ntk)");
  EXPECT_TRUE(scheme_takes_scale("pose"));
  EXPECT_FALSE(scheme_takes_scale("random"));
}

}  // namespace
}  // namespace ropesweep
