// The reactor, event by event.
#include "coordinator/reactor.h"

#include <gtest/gtest.h>

#include <map>

#include "tests/coordinator/sweep_fixture.h"

namespace ropesweep {
namespace {

TEST(Reactor, AResultIsDurableBeforeItIsAcknowledged) {
  Room room({evaluation_task("e", "base")}, 1);
  room.enroll(1);
  room.turn();
  const auto assigned = room.told_of<Assign>(1);
  ASSERT_EQ(assigned.size(), 1U);
  EXPECT_EQ(assigned[0].attempt, (AttemptId{"e", 1}));
  room.store.disk_full = true;
  room.say(1, Done{assigned[0].attempt, finished(assigned[0].task)});
  room.turn();
  EXPECT_TRUE(room.told_of<Acknowledge>(1).empty()) << "the disk is full";
  room.store.disk_full = false;
  room.turn(10);
  EXPECT_EQ(room.told_of<Acknowledge>(1).size(), 1U);
  ASSERT_EQ(room.store.ended.size(), 1U);
  EXPECT_TRUE(room.store.ended[0].durable);
  EXPECT_EQ(room.store.status("e-long"), "finished");
}

TEST(Reactor, ResultsOfOneTurnShareASync) {
  std::vector<Task> tasks;
  for (int i = 0; i < 8; ++i) {
    tasks.push_back(evaluation_task(fmt::format("e{}", i), "base"));
  }
  Room room(tasks, 8);
  for (int worker = 1; worker <= 8; ++worker) {
    room.enroll(worker);
  }
  room.turn();
  for (int worker = 1; worker <= 8; ++worker) {
    const auto assigned = room.told_of<Assign>(worker);
    ASSERT_EQ(assigned.size(), 1U);
    room.say(worker, Done{assigned[0].attempt, finished(assigned[0].task)});
  }
  const int before = room.store.syncs;
  room.turn();
  EXPECT_EQ(room.store.syncs, before + 1);
  EXPECT_TRUE(room.reactor->all_settled());
}

TEST(Reactor, AFullDiskEndsTheRunAfterAMinute) {
  Room room({evaluation_task("e", "base")}, 1);
  room.enroll(1);
  room.store.disk_full = true;
  for (int second = 0; second < 70; ++second) {
    room.say(1, Heartbeat{});
    room.turn(1);
  }
  EXPECT_TRUE(room.reactor->broken());
  EXPECT_NE(room.reactor->trouble().find("no space left"), std::string::npos);
}

TEST(Reactor, ASilentWorkersTaskGoesToAnotherAndItsLateAnswerIsDropped) {
  Room room({evaluation_task("e", "base")}, 2);
  room.enroll(1);
  room.turn();
  const auto first = room.told_of<Assign>(1);
  ASSERT_EQ(first.size(), 1U);
  room.enroll(2);
  room.turn(20);
  room.say(2, Heartbeat{});
  room.turn(20);  // Worker 1 has been silent for 40 s.
  const auto second = room.told_of<Assign>(2);
  ASSERT_EQ(second.size(), 1U);
  EXPECT_EQ(second[0].attempt, (AttemptId{"e", 2}));
  EXPECT_TRUE(room.told(1).size() <= 2) << "nothing is sent to a suspect but what was on its way";
  room.turn(5);
  EXPECT_TRUE(room.told(1).empty());

  room.say(1, Done{first[0].attempt, finished(first[0].task)});
  room.turn();
  EXPECT_EQ(room.store.status("e-long"), "pending") << "a stale answer";
  room.say(2, Done{second[0].attempt, finished(second[0].task)});
  room.turn();
  EXPECT_EQ(room.store.status("e-long"), "finished");
  ASSERT_EQ(room.store.ended.size(), 2U);
  EXPECT_EQ(room.store.ended[0].attempt.status, "lost");
  EXPECT_EQ(room.store.ended[1].attempt.number, 2);
}

TEST(Reactor, AStaleHeartbeatIsToldToAbandon) {
  Room room({evaluation_task("e", "base")}, 1);
  room.enroll(1);
  room.turn();
  room.told(1);
  room.say(1, Heartbeat{{"e", 99}, 0.5, ""});
  room.turn();
  const auto abandoned = room.told_of<Abandon>(1);
  ASSERT_EQ(abandoned.size(), 1U);
  EXPECT_EQ(abandoned[0].attempt.number, 99);
}

TEST(Reactor, AttemptsAreNumberedAcrossRestarts) {
  std::vector<Task> tasks = {evaluation_task("e", "base")};
  FakeStore store;
  plan(store, tasks);
  AttemptRecord earlier;
  earlier.task = "e";
  earlier.number = 7;
  earlier.status = "lost";
  store.contents_.attempts.push_back(earlier);
  LoopbackNetwork network(2);
  Reactor reactor({}, tasks, store, network.channel(0), 0);
  reactor.on_message(1, Hello{}, 0);
  reactor.on_message(1, RequestWork{}, 0);
  reactor.on_turn(0);
  ASSERT_EQ(store.started.size(), 1U);
  EXPECT_EQ(store.started[0].number, 8);
}

TEST(Reactor, TheCrashLimitEndsATask) {
  ReactorOptions options;
  options.crash_limit = 3;
  Room room({evaluation_task("e", "base")}, 1, options);
  room.enroll(1);
  for (int64_t crash = 1; crash <= 3; ++crash) {
    room.turn();
    const auto assigned = room.told_of<Assign>(1);
    ASSERT_EQ(assigned.size(), 1U);
    EXPECT_EQ(assigned[0].attempt.number, crash);
    room.say(1, Done{assigned[0].attempt, failure(FailureKind::transient, "signal 11")});
    room.say(1, RequestWork{});
  }
  room.turn();
  EXPECT_EQ(room.store.status("e-short"), "failed");
  EXPECT_TRUE(room.reactor->all_settled());
  EXPECT_TRUE(room.store.ended.back().final_failure);
}

TEST(Reactor, ARequestThatCrossesItsAssignmentIsNoLoss) {
  ReactorOptions options;
  options.crash_limit = 1;
  Room room({evaluation_task("e", "base")}, 1, options);
  room.enroll(1);
  room.turn();
  room.say(1, RequestWork{});  // It hasn't listened: the assignment is on its way.
  room.turn();
  const auto assigned = room.told_of<Assign>(1);
  ASSERT_EQ(assigned.size(), 1U) << "it is not given anything twice";
  room.say(1, Done{assigned[0].attempt, finished(room.task("e"))});
  room.turn();
  EXPECT_EQ(room.store.status("e-short"), "finished");
}

TEST(Reactor, ARequestAfterTheAssignmentMeansThatItIsLost) {
  Room room({evaluation_task("e", "base")}, 1);
  room.enroll(1);
  room.turn();
  ASSERT_EQ(room.told_of<Assign>(1).size(), 1U);
  room.say(1, RequestWork{});
  room.turn();
  const auto again = room.told_of<Assign>(1);
  ASSERT_EQ(again.size(), 1U);
  EXPECT_EQ(again[0].attempt.number, 2);
}

TEST(Reactor, TheTimesEndCountsAsNoAttempt) {
  ReactorOptions options;
  options.crash_limit = 1;
  Room room({fine_tune_task("f")}, 1, options);
  room.enroll(1);
  for (int i = 0; i < 5; ++i) {
    room.turn();
    const auto assigned = room.told_of<Assign>(1);
    ASSERT_EQ(assigned.size(), 1U);
    room.say(1, Done{assigned[0].attempt, failure(FailureKind::time, "told to stop")});
    room.say(1, RequestWork{});
  }
  room.turn();
  EXPECT_EQ(room.store.status("f"), "pending");
  EXPECT_EQ(room.store.ended.back().attempt.status, "stopped");
}

TEST(Reactor, AUserErrorIsFinalAtOnceAndSkipsWhatNeedsIt) {
  Room room({fine_tune_task("f"), fine_tune_task("g", {"f"}), evaluation_task("e", "g", {"g"}),
             evaluation_task("other", "base")},
            1);
  room.enroll(1);
  room.turn();
  const auto assigned = room.told_of<Assign>(1);
  ASSERT_EQ(assigned.size(), 1U);
  ASSERT_EQ(assigned[0].task.id, "f");
  room.say(1, Done{assigned[0].attempt, failure(FailureKind::user, "data.txt: empty")});
  room.turn();
  EXPECT_EQ(room.store.status("f"), "failed");
  EXPECT_EQ(room.store.status("g"), "skipped");
  EXPECT_EQ(room.store.status("e-long"), "skipped");
  EXPECT_NE(room.store.failure("e-long").find("fine-tune f"), std::string::npos);
  EXPECT_NE(room.store.failure("e-long").find("data.txt: empty"), std::string::npos);
  EXPECT_EQ(room.store.status("other-long"), "pending");
}

TEST(Reactor, ADivergedFineTuneIsAResultAndSkipsWithItsReason) {
  Room room({fine_tune_task("f"), evaluation_task("e", "f", {"f"})}, 1);
  room.enroll(1);
  room.turn();
  const auto assigned = room.told_of<Assign>(1);
  ASSERT_EQ(assigned.size(), 1U);
  Outcome diverged = finished(room.task("f"));
  diverged.failure_kind = FailureKind::diverged;
  diverged.failure = "the loss is NaN at step 3";
  room.say(1, Done{assigned[0].attempt, diverged});
  room.turn();
  EXPECT_EQ(room.store.status("f"), "diverged");
  EXPECT_EQ(room.store.status("e-long"), "skipped");
  EXPECT_TRUE(room.store.failure("e-long").ends_with("diverged")) << room.store.failure("e-long");
  EXPECT_TRUE(room.reactor->all_settled());
}

TEST(Reactor, WhatFailedInAnEarlierRunSkipsNewDependants) {
  const std::vector<Task> tasks = {fine_tune_task("f"), evaluation_task("e", "f", {"f"})};
  FakeStore store;
  plan(store, tasks);
  store.contents_.fine_tunes[0].status = "failed";
  store.contents_.fine_tunes[0].failure = "bad data";
  LoopbackNetwork network(2);
  const Reactor reactor({}, tasks, store, network.channel(0), 0);
  EXPECT_TRUE(reactor.all_settled());
  EXPECT_EQ(store.status("e-long"), "skipped");
  EXPECT_NE(store.failure("e-long").find("bad data"), std::string::npos);
}

TEST(Reactor, AnAnswerWithoutItsCellsIsAFailure) {
  Room room({evaluation_task("e", "base")}, 1);
  room.enroll(1);
  room.turn();
  const auto assigned = room.told_of<Assign>(1);
  ASSERT_EQ(assigned.size(), 1U);
  Outcome partial = finished(assigned[0].task);
  partial.cells.pop_back();
  room.say(1, Done{assigned[0].attempt, partial});
  room.turn();
  EXPECT_EQ(room.store.ended.at(0).attempt.status, "failed");
  EXPECT_EQ(room.store.status("e-short"), "pending");
}

TEST(Reactor, TheTimeLimitStopsWorkAndLetsFineTunesSave) {
  ReactorOptions options;
  options.time_limit_seconds = 100;
  options.save_margin_seconds = 10;
  options.suspicion_seconds = 1000;
  // By the prior rate 10 s and 200 s: the long evaluation can never fit.
  Task single = evaluation_task("long", "base", {}, 1e13);
  single.dataset.samples = 1;
  Room room({fine_tune_task("f", {}, 1e14), single}, 2, options);
  room.enroll(1);
  room.enroll(2);
  room.turn();
  ASSERT_EQ(room.told_of<Assign>(1).size(), 1U);
  EXPECT_TRUE(room.told_of<Assign>(2).empty()) << "it can't end in time and can't save";
  const auto waiting = room.reactor->waiting(room.now, 10);
  ASSERT_EQ(waiting.size(), 1U);
  EXPECT_NE(waiting[0].reason.find("are left"), std::string::npos);
  room.turn(89);
  EXPECT_FALSE(room.reactor->stopping());
  room.turn(2);
  EXPECT_TRUE(room.reactor->stopping());
  const auto stops = room.told_of<Stop>(1);
  ASSERT_EQ(stops.size(), 1U);
  EXPECT_TRUE(stops[0].save);
  room.say(1, Done{{"f", 1}, failure(FailureKind::time, "saved at step 12")});
  room.say(1, Goodbye{"told to stop"});
  room.say(2, Goodbye{"told to stop"});
  room.turn();
  EXPECT_TRUE(room.reactor->over(room.now));
  EXPECT_FALSE(room.reactor->broken());
  EXPECT_TRUE(room.reactor->all_left_in_order());
}

TEST(Reactor, ALostProcessIsNoticedAtOnce) {
  Room room({evaluation_task("e", "base")}, 2);
  room.enroll(1);
  room.turn();
  room.reactor->on_process_gone(1, room.now);
  room.enroll(2);
  room.turn();
  const auto again = room.told_of<Assign>(2);
  ASSERT_EQ(again.size(), 1U);
  EXPECT_EQ(again[0].attempt.number, 2);
  EXPECT_FALSE(room.reactor->all_left_in_order());
}

TEST(Reactor, NobodyLeftEndsTheRun) {
  Room room({evaluation_task("e", "base")}, 1);
  room.enroll(1);
  room.turn();
  room.reactor->on_process_gone(1, room.now);
  room.turn(1);
  EXPECT_FALSE(room.reactor->over(room.now));
  room.turn(31);
  EXPECT_TRUE(room.reactor->over(room.now));
  EXPECT_TRUE(room.reactor->broken());
}

TEST(Reactor, WorkersGetWorkForTheWeightsTheyHold) {
  std::vector<Task> tasks;
  for (int i = 0; i < 10; ++i) {
    tasks.push_back(evaluation_task(fmt::format("a{}", i), "a"));
    tasks.push_back(evaluation_task(fmt::format("b{}", i), "b"));
  }
  Room room(tasks, 2);
  std::map<int, std::string> key;
  int changes = 0;
  room.enroll(1);
  room.enroll(2);
  for (int i = 0; i < 40 && !room.reactor->all_settled(); ++i) {
    room.turn(1);
    for (int worker : {1, 2}) {
      for (const Assign& assigned : room.told_of<Assign>(worker)) {
        changes += key[worker] != assigned.task.weights_key ? 1 : 0;
        key[worker] = assigned.task.weights_key;
        room.say(worker, Done{assigned.attempt, finished(assigned.task)});
        room.say(worker, RequestWork{key[worker]});
      }
    }
  }
  room.turn();
  EXPECT_TRUE(room.reactor->all_settled());
  EXPECT_EQ(changes, 2) << "each worker loads once";
}

FineTuneOutcome reached(const std::string& id, std::vector<int64_t> steps,
                        std::vector<double> losses) {
  FineTuneOutcome so_far;
  so_far.fine_tune = id;
  so_far.steps = steps.back();
  so_far.curve.step = std::move(steps);
  so_far.curve.training_loss = std::move(losses);
  return so_far;
}

TEST(Reactor, LossesOfTheCurrentAttemptAreRecordedAndNoOthers) {
  Room room({fine_tune_task("f"), fine_tune_task("g")}, 2);
  room.enroll(1);
  room.turn();
  const auto assigned = room.told_of<Assign>(1);
  ASSERT_EQ(assigned.size(), 1U);
  const std::string id = assigned[0].task.id;
  room.say(1, Losses{assigned[0].attempt, reached(id, {1, 2}, {4, 3})});
  room.say(1, Losses{{id, 9}, reached(id, {3}, {2})});
  room.say(1, Losses{assigned[0].attempt, reached("another", {3}, {2})});
  room.say(2, Losses{assigned[0].attempt, reached(id, {3}, {2})});
  room.turn();
  ASSERT_EQ(room.store.told.size(), 1U);
  EXPECT_EQ(room.store.told[0].curve.step.size(), 2U);
}

TEST(Reactor, AFineTuneWaitsForThoseItIsComparedWithAndGetsTheirMedians) {
  std::vector<Task> tasks = {fine_tune_task("a"), fine_tune_task("b"), fine_tune_task("c")};
  tasks[2].fine_tune.compared_with = {"a", "b"};
  Room room(tasks, 3);
  for (int worker = 1; worker <= 3; ++worker) {
    room.enroll(worker);
  }
  room.turn();
  std::map<std::string, std::pair<int, AttemptId>> assigned;
  for (int worker = 1; worker <= 3; ++worker) {
    for (const Assign& assign : room.told_of<Assign>(worker)) {
      assigned[assign.task.id] = {worker, assign.attempt};
    }
  }
  ASSERT_EQ(assigned.size(), 2U) << "the third waits";
  // What they leave: the store's records are what it is compared with.
  room.store.contents_.fine_tunes[0].outcome = reached("a", {1, 2}, {4, 2});
  room.store.contents_.fine_tunes[1].outcome = reached("b", {1}, {8});
  Outcome diverged = finished(tasks[1]);
  diverged.failure_kind = FailureKind::diverged;
  room.say(assigned["a"].first, Done{assigned["a"].second, finished(tasks[0])});
  room.say(assigned["b"].first, Done{assigned["b"].second, diverged});
  room.turn();
  std::vector<Assign> later;
  for (int worker = 1; worker <= 3; ++worker) {
    for (const Assign& assign : room.told_of<Assign>(worker)) {
      later.push_back(assign);
    }
  }
  ASSERT_EQ(later.size(), 1U);
  EXPECT_EQ(later[0].task.id, "c");
  EXPECT_EQ(later[0].task.sibling_medians, (std::vector<double>{6, 3}));
  EXPECT_GE(later[0].task.seconds_between_failures, kSecondsBetweenFailures);
}

}  // namespace
}  // namespace ropesweep
