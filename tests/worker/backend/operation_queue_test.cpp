// The queue of a group's operations: their order, what they throw, and its end.
#include "worker/backend/operation_queue.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <latch>
#include <stdexcept>
#include <vector>

namespace ropesweep::backend {
namespace {

TEST(OperationQueue, RunsInTheOrderOfSubmission) {
  std::vector<int> order;
  std::vector<std::unique_ptr<Pending>> pending;
  OperationQueue queue;
  for (int i = 0; i < 100; ++i) {
    pending.push_back(queue.submit("op", [&order, i] { order.push_back(i); }));
  }
  pending.back()->wait();
  EXPECT_EQ(order.size(), 100U);
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
}

TEST(OperationQueue, LetsGoOfWhatAnOperationHoldsBeforeItsEnd) {
  OperationQueue queue;
  for (int i = 0; i < 100; ++i) {
    const auto held = std::make_shared<int>(i);
    queue.submit("op", [held] {})->wait();
    EXPECT_EQ(held.use_count(), 1);
  }
}

TEST(OperationQueue, RunsNothingAfterOneThatThrew) {
  OperationQueue queue;
  bool ran = false;
  const auto failing = queue.submit("first", [] { throw std::domain_error("why"); });
  const auto next = queue.submit("second", [&ran] { ran = true; });
  EXPECT_THROW(failing->wait(), std::domain_error);
  EXPECT_THROW(failing->wait(), std::domain_error);
  try {
    next->wait();
    FAIL() << "it ran";
  } catch (const LostMember& error) {
    EXPECT_STREQ(error.what(), "second: the group has ended: why");
  }
  EXPECT_FALSE(ran);
}

TEST(OperationQueue, EndsAfterTheOneThatRuns) {
  bool ran = false;
  std::latch begun(1), go_on(1);
  std::unique_ptr<Pending> running, waiting;
  std::thread helper;
  {
    OperationQueue queue;
    running = queue.submit("first", [&] {
      begun.count_down();
      go_on.wait();
    });
    waiting = queue.submit("second", [&ran] { ran = true; });
    begun.wait();
    helper = std::thread([&] { go_on.count_down(); });
  }
  helper.join();
  running->wait();
  bool dropped = false;
  try {
    waiting->wait();
  } catch (const LostMember&) {
    dropped = true;
  }
  EXPECT_NE(dropped, ran);  // it may have had its turn before the end began
}

}  // namespace
}  // namespace ropesweep::backend
