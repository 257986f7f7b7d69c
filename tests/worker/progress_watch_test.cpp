// A long step and a hang.
#include "worker/progress_watch.h"

#include <gtest/gtest.h>

namespace ropesweep {
namespace {

TEST(ProgressWatch, SilenceBeyondThePatienceIsAHang) {
  ProgressWatch watch;
  watch.begin(900, 100);
  EXPECT_FALSE(watch.hangs(1000));
  EXPECT_TRUE(watch.hangs(1001));
  watch.progressed(1000);
  EXPECT_FALSE(watch.hangs(1900));
}

TEST(ProgressWatch, ATaskOfLongStepsMayTakeTenTimesItsLongest) {
  ProgressWatch watch;
  watch.begin(900, 0);
  watch.progressed(600);
  watch.progressed(610);
  EXPECT_FALSE(watch.hangs(610 + 6000));
  EXPECT_TRUE(watch.hangs(610 + 6001));
  watch.begin(900, 7000);
  EXPECT_TRUE(watch.hangs(7901)) << "another task begins anew";
}

TEST(ProgressWatch, NoPatienceMeansForEver) {
  ProgressWatch watch;
  watch.begin(0, 0);
  EXPECT_FALSE(watch.hangs(1e9));
}

}  // namespace
}  // namespace ropesweep
