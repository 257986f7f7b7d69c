// When a fine-tune saves: Young's interval and its bounds.
#include "worker/tasks/save_interval.h"

#include <gtest/gtest.h>

namespace ropesweep::tasks {
namespace {

constexpr double kDay = 86400;

TEST(SaveInterval, IsYoungsWhereSavingIsDear) {
  EXPECT_DOUBLE_EQ(save_interval({50, 50}, kDay), 2939.3876913398137);  // sqrt(2 * 50 * 86400)
  EXPECT_DOUBLE_EQ(save_interval({50, 50}, 4 * kDay), 2 * 2939.3876913398137);
}

TEST(SaveInterval, FallsAsFailuresComeCloser) {
  EXPECT_LT(save_interval({50, 50}, kDay / 10), save_interval({50, 50}, kDay));
}

TEST(SaveInterval, IsAMinuteAtLeastAndLeavesTheDiskToOthers) {
  EXPECT_EQ(save_interval({0, 0}, kDay), 60);
  EXPECT_EQ(save_interval({1, 1}, 0), 60);
  EXPECT_EQ(save_interval({0.5, 200}, kDay), 800);
}

}  // namespace
}  // namespace ropesweep::tasks
