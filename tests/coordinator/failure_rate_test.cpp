// The mean time between failures, from what attempts say.
#include "coordinator/failure_rate.h"

#include <gtest/gtest.h>

namespace ropesweep {
namespace {

constexpr double kDay = 86400;

AttemptRecord ended(double seconds, FailureKind kind) {
  AttemptRecord record;
  record.seconds = seconds;
  record.failure_kind = kind;
  return record;
}

TEST(FailureRate, BeginsAtADay) { EXPECT_EQ(FailureRate().seconds_between_failures(), kDay); }

TEST(FailureRate, CountsWhatDiedAgainstAllThatWorked) {
  FailureRate rate;
  rate.observe(ended(9 * kDay, FailureKind::none));
  EXPECT_EQ(rate.seconds_between_failures(), 10 * kDay);
  rate.observe(ended(kDay, FailureKind::transient));
  EXPECT_EQ(rate.seconds_between_failures(), 5.5 * kDay);
}

TEST(FailureRate, KnowsResultsAndWrongInputFromFailuresOfTheMachine) {
  FailureRate rate;
  for (const FailureKind kind :
       {FailureKind::none, FailureKind::user, FailureKind::diverged, FailureKind::time}) {
    rate.observe(ended(0, kind));
  }
  EXPECT_EQ(rate.seconds_between_failures(), kDay);
}

}  // namespace
}  // namespace ropesweep
