// Who is blamed for what, who gets no more work, and what status says of those who wait: nodes,
// devices, memory, silence, a disk that fails for a while.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "coordinator/progress.h"
#include "tests/coordinator/sweep_fixture.h"

namespace ropesweep {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

std::vector<Task> evaluations(int count) {
  std::vector<Task> tasks;
  for (int i = 0; i < count; ++i) {
    tasks.push_back(evaluation_task(fmt::format("e{}", i), "base"));
  }
  return tasks;
}

/// Workers that do as they are told by name: what a worker got last, and its words about it.
class FaultRoom : public Room {
 public:
  using Room::Room;

  /// The assignment that a worker has got since it last listened, if any.
  std::optional<Assign> assigned(int worker) {
    const auto all = told_of<Assign>(worker);
    EXPECT_LE(all.size(), 1U) << "worker " << worker;
    return all.empty() ? std::nullopt : std::optional(all.back());
  }
  void finish(int worker, const Assign& assign) {
    say(worker, Done{assign.attempt, finished(assign.task)});
    say(worker, RequestWork{assign.task.weights_key});
  }
  void die(int worker, const Assign& assign, FailureKind kind = FailureKind::transient,
           const std::string& what = "signal 11") {
    say(worker, Done{assign.attempt, failure(kind, what)});
    say(worker, RequestWork{});
  }
  void break_device(int worker, const Assign& assign) {
    Done done{assign.attempt, failure(FailureKind::transient, "no CUDA device")};
    done.device_broken = true;
    say(worker, done);
    say(worker, RequestWork{});
  }
  std::string reason(const std::string& task) {
    for (const WaitingTask& waiting : reactor->waiting(now, 1000)) {
      if (waiting.task == task) {
        return waiting.reason;
      }
    }
    return "";
  }
  std::vector<std::string> left_out() const {
    std::vector<std::string> names;
    for (const LeftOut& each : reactor->left_out()) {
      names.push_back(each.what);
    }
    return names;
  }
  /// A turn in which nobody is silent.
  void live_turn(int workers, double seconds) {
    for (int worker = 1; worker <= workers; ++worker) {
      say(worker, Heartbeat{});
    }
    turn(seconds);
  }
};

TEST(Blame, ATaskThatDiesElsewhereTooClearsTheNode) {
  Blame blame;
  blame.killed("a", 1);
  blame.killed("a", 2);
  blame.killed("a", 2);
  EXPECT_FALSE(blame.blames("a")) << "two different ones";
  blame.killed("a", 3);
  EXPECT_TRUE(blame.blames("a"));
  EXPECT_TRUE(blame.blames_any());
  blame.killed("b", 3);
  EXPECT_FALSE(blame.blames("a"));
  EXPECT_FALSE(blame.blames("b"));
  EXPECT_EQ(blame.in_a_row(), 3U);
  blame.finished();
  EXPECT_EQ(blame.in_a_row(), 0U);
}

TEST(Faults, ANodeThatKillsThreeTasksIsLeftOutAndNamed) {
  FaultRoom room(evaluations(8), 2);
  room.enroll(1, "bad");
  room.enroll(2, "good");
  room.turn();
  auto at_good = room.assigned(2);
  ASSERT_TRUE(at_good);
  std::set<std::string> killed;
  for (int i = 0; i < 3; ++i) {
    const auto at_bad = room.assigned(1);
    ASSERT_TRUE(at_bad) << i;
    killed.insert(at_bad->task.id);
    room.die(1, *at_bad);
    room.live_turn(2, 1);
  }
  EXPECT_THAT(killed, SizeIs(3)) << "a retry goes to another node";
  EXPECT_FALSE(room.assigned(1)) << "it gets no more work";
  EXPECT_THAT(room.left_out(), testing::ElementsAre("node bad"));
  EXPECT_THAT(room.reactor->left_out()[0].why, HasSubstr("3 different tasks"));
  EXPECT_THAT(progress_line(count_progress(*room.reactor, room.store.contents(), {})),
              HasSubstr("without node bad"));
  for (int i = 0; i < 20 && at_good; ++i) {
    room.finish(2, *at_good);
    room.say(1, RequestWork{});
    room.live_turn(2, 1);
    EXPECT_FALSE(room.assigned(1));
    at_good = room.assigned(2);
  }
  EXPECT_TRUE(room.reactor->all_settled()) << "the other node does it all";
  EXPECT_EQ(room.store.status("e0-long"), "finished");
}

TEST(Faults, ANodeWhoseTasksDieElsewhereTooIsUsedAgain) {
  FaultRoom room(evaluations(8), 2);
  room.enroll(1, "a");
  room.enroll(2, "b");
  room.turn();
  auto at_b = room.assigned(2);
  std::set<std::string> killed;
  for (int i = 0; i < 3; ++i) {
    const auto at_a = room.assigned(1);
    ASSERT_TRUE(at_a);
    killed.insert(at_a->task.id);
    room.die(1, *at_a);
    room.live_turn(2, 1);
  }
  ASSERT_THAT(room.left_out(), SizeIs(1));
  for (int i = 0; i < 20 && !room.left_out().empty() && at_b; ++i) {
    killed.contains(at_b->task.id) ? room.die(2, *at_b) : room.finish(2, *at_b);
    room.live_turn(2, 1);
    at_b = room.assigned(2);
  }
  EXPECT_THAT(room.left_out(), IsEmpty()) << "the tasks are to blame";
  room.say(1, RequestWork{});
  room.live_turn(2, 1);
  EXPECT_TRUE(room.assigned(1));
}

TEST(Faults, TheLastNodeIsNeverLeftOutAndEndsTheRunWhenNothingLivesOnIt) {
  FaultRoom room(evaluations(20), 1);
  room.enroll(1);
  room.turn();
  for (int i = 0; i < 100 && !room.reactor->stopping(); ++i) {
    if (const auto assigned = room.assigned(1)) {
      room.die(1, *assigned);
    }
    EXPECT_THAT(room.left_out(), IsEmpty());
    room.live_turn(1, 1);
  }
  EXPECT_TRUE(room.reactor->stopping());
  EXPECT_FALSE(room.reactor->broken()) << "code 75: another node may do it";
  EXPECT_THAT(room.reactor->trouble(), HasSubstr("host"));
  EXPECT_EQ(room.store.status("e19-long"), "pending") << "nothing is lost";
}

TEST(Faults, WhatDiesNowAndThenEndsNothing) {
  FaultRoom room(evaluations(40), 1);
  room.enroll(1);
  room.turn();
  for (int i = 0; i < 200 && !room.reactor->all_settled(); ++i) {
    if (const auto assigned = room.assigned(1)) {
      i % 3 == 0 ? room.die(1, *assigned) : room.finish(1, *assigned);
    }
    room.live_turn(1, 1);
  }
  EXPECT_TRUE(room.reactor->all_settled());
  for (const auto& record : room.store.contents().cells) {
    EXPECT_EQ(record.status, "finished");
  }
}

TEST(Faults, AWorkerWhoseDeviceIsGoneIsLeftOutAndItsTasksDontPay) {
  ReactorOptions options;
  options.crash_limit = 1;  // a single death would end a task
  FaultRoom room(evaluations(6), 2, options);
  room.enroll(1);
  room.enroll(2);
  room.turn();
  auto at_two = room.assigned(2);
  for (int i = 0; i < 3; ++i) {
    const auto at_one = room.assigned(1);
    ASSERT_TRUE(at_one) << i;
    room.break_device(1, *at_one);
    room.live_turn(2, 1);
  }
  EXPECT_FALSE(room.assigned(1));
  ASSERT_THAT(room.left_out(), SizeIs(1));
  EXPECT_EQ(room.left_out()[0], "worker 1 (host, cpu)");
  EXPECT_EQ(room.reactor->left_out()[0].why, "no CUDA device");
  for (int i = 0; i < 20 && at_two; ++i) {
    room.finish(2, *at_two);
    room.live_turn(2, 1);
    at_two = room.assigned(2);
  }
  EXPECT_TRUE(room.reactor->all_settled());
  for (const auto& record : room.store.contents().cells) {
    EXPECT_EQ(record.status, "finished");
  }
}

TEST(Faults, ADeviceThatComesBackIsNotCounted) {
  FaultRoom room(evaluations(8), 1);
  room.enroll(1);
  room.turn();
  for (int i = 0; i < 8; ++i) {
    const auto broken = room.assigned(1);
    ASSERT_TRUE(broken);
    room.break_device(1, *broken);
    room.live_turn(1, 1);
    const auto works = room.assigned(1);
    ASSERT_TRUE(works) << i;
    room.finish(1, *works);
    room.live_turn(1, 1);
  }
  EXPECT_TRUE(room.reactor->all_settled());
}

TEST(Faults, WithoutAnyDeviceTheRunEndsAndNamesThem) {
  FaultRoom room(evaluations(3), 1);
  room.enroll(1);
  room.turn();
  for (int i = 0; i < 100 && !room.reactor->stopping(); ++i) {
    if (const auto assigned = room.assigned(1)) {
      room.break_device(1, *assigned);
    }
    room.live_turn(1, 1);
  }
  EXPECT_TRUE(room.reactor->stopping());
  EXPECT_TRUE(room.reactor->broken()) << "another try would end the same way";
  EXPECT_THAT(room.reactor->trouble(), HasSubstr("worker 1 (host, cpu): no CUDA device"));
  EXPECT_EQ(room.store.status("e0-long"), "pending");
}

TEST(Faults, MemoryIsTriedWithinLessFirst) {
  ReactorOptions options;
  options.crash_limit = 1;
  FaultRoom room({fine_tune_task("f"), evaluation_task("e", "f", {"f"})}, 1, options);
  room.enroll(1);
  for (int64_t thrift = 0; thrift <= 2; ++thrift) {
    room.turn();
    const auto assigned = room.assigned(1);
    ASSERT_TRUE(assigned) << thrift;
    EXPECT_EQ(assigned->thrift, thrift);
    room.die(1, *assigned, FailureKind::memory, "out of memory");
  }
  room.turn();
  EXPECT_EQ(room.store.status("f"), "failed");
  EXPECT_THAT(room.store.ended.back().outcome.failure, HasSubstr("least memory"));
  EXPECT_EQ(room.store.status("e-long"), "skipped");
}

TEST(Faults, WhatNeedsLessThenFitsIsAResult) {
  FaultRoom room({evaluation_task("e", "base")}, 1);
  room.enroll(1);
  room.turn();
  room.die(1, *room.assigned(1), FailureKind::memory, "out of memory");
  room.turn();
  const auto again = room.assigned(1);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->thrift, 1);
  room.finish(1, *again);
  room.turn();
  EXPECT_EQ(room.store.status("e-long"), "finished");
}

TEST(Faults, MemoryIsTriedOnMoreWorkersLast) {
  ReactorOptions options;
  options.most_team_size = 2;
  options.groups_directory = "/store.d/groups";
  FaultRoom room({fine_tune_task("f", {}, 1e12), evaluation_task("e", "f", {"f"}),
                  evaluation_task("other", "base")},
                 2, options);
  room.enroll(1);
  room.enroll(2);
  room.turn();
  int fails = 0;
  std::optional<Assign> other;
  for (int i = 0; i < 20 && fails < 3; ++i) {
    for (const int worker : {1, 2}) {
      if (const auto assigned = room.assigned(worker)) {
        EXPECT_EQ(assigned->place.size, 1);
        if (assigned->task.id == "other") {
          other = assigned;
          EXPECT_EQ(worker, 2);
        } else {
          room.die(worker, *assigned, FailureKind::memory, "out of memory");
          ++fails;
        }
      }
    }
    room.live_turn(2, 1);
  }
  ASSERT_EQ(fails, 3);
  ASSERT_TRUE(other);
  EXPECT_THAT(room.reason("f"), HasSubstr("out of memory on 1 GPU"));
  EXPECT_FALSE(room.assigned(1)) << "what fits one worker comes first";
  room.finish(2, *other);
  room.live_turn(2, 1);
  room.live_turn(2, 1);
  const auto first = room.assigned(1), second = room.assigned(2);
  ASSERT_TRUE(first && second);
  EXPECT_EQ(first->attempt, second->attempt);
  EXPECT_EQ(first->place.size, 2);
  EXPECT_EQ(first->task.workers.gpus_per_task, 2);
  room.finish(1, *first);
  room.finish(2, *second);
  room.live_turn(2, 1);
  EXPECT_EQ(room.store.status("f"), "finished");
  const auto child = room.assigned(1);
  ASSERT_TRUE(child);
  EXPECT_EQ(child->place.size, 2);
}

TEST(Faults, DeathsBetweenWhichATaskComesOnAreNotItsOwn) {
  ReactorOptions options;
  options.crash_limit = 2;
  FaultRoom room({fine_tune_task("f")}, 1, options);
  room.enroll(1);
  for (const double reached : {0.2, 0.4, 0.6, 0.8}) {
    room.turn(1);
    const auto assigned = room.assigned(1);
    ASSERT_TRUE(assigned) << reached;
    room.say(1, Heartbeat{assigned->attempt, reached, "step"});
    room.turn(1);
    room.die(1, *assigned);
  }
  room.turn(1);
  EXPECT_EQ(room.store.status("f"), "pending");
  const auto assigned = room.assigned(1);
  ASSERT_TRUE(assigned);
  room.say(1, Heartbeat{assigned->attempt, 0.81, "step"});
  room.turn(1);
  room.die(1, *assigned);
  room.turn(1);
  EXPECT_EQ(room.store.status("f"), "failed") << "twice at the same place";
}

TEST(Faults, AWholeNodeThatFallsSilentLosesNothing) {
  ReactorOptions options;
  options.suspicion_seconds = 30;
  FaultRoom room(evaluations(12), 6, options);
  for (int worker = 1; worker <= 6; ++worker) {
    room.enroll(worker, worker <= 4 ? "falls" : "stays");
  }
  room.turn();
  std::map<int, Assign> had;
  for (int worker = 1; worker <= 4; ++worker) {
    const auto assigned = room.assigned(worker);
    ASSERT_TRUE(assigned);
    had[worker] = *assigned;
    room.network.disconnect(worker);
  }
  for (int i = 0; i < 100 && !room.reactor->all_settled(); ++i) {
    for (const int worker : {5, 6}) {
      if (const auto assigned = room.assigned(worker)) {
        room.finish(worker, *assigned);
      }
    }
    room.live_turn(6, 2);
    EXPECT_THAT(room.left_out(), IsEmpty()) << "silence may be the network's";
  }
  ASSERT_TRUE(room.reactor->all_settled());
  // The network is back, and what it held is told.
  const size_t ended = room.store.ended.size();
  for (int worker = 1; worker <= 4; ++worker) {
    room.network.reconnect(worker);
    room.say(worker, Done{had[worker].attempt, finished(had[worker].task)});
  }
  room.turn(1);
  EXPECT_EQ(room.store.ended.size(), ended) << "stale answers are dropped";
  for (const auto& record : room.store.contents().cells) {
    EXPECT_EQ(record.status, "finished");
  }
}

TEST(Faults, NoWorkIsGivenOutWhileNothingCanBeRecorded) {
  FaultRoom room(evaluations(3), 1);
  room.enroll(1);
  room.turn();
  const auto first = room.assigned(1);
  ASSERT_TRUE(first);
  room.store.disk_full = true;
  room.finish(1, *first);
  room.live_turn(1, 1);
  const auto second = room.assigned(1);
  ASSERT_TRUE(second) << "that it is full is not known yet";
  room.finish(1, *second);
  for (int i = 0; i < 30; ++i) {
    room.live_turn(1, 1);
  }
  const auto words = room.told(1);
  for (const Message& word : words) {
    EXPECT_FALSE(std::holds_alternative<Acknowledge>(word));
    EXPECT_FALSE(std::holds_alternative<Assign>(word));
  }
  EXPECT_FALSE(room.reactor->stopping());
  room.store.disk_full = false;
  for (int i = 0; i < 7; ++i) {
    room.live_turn(1, 1);
  }
  EXPECT_FALSE(room.reactor->broken());
  const auto after = room.told(1);
  EXPECT_TRUE(std::any_of(after.begin(), after.end(), [](const Message& word) {
    return std::holds_alternative<Acknowledge>(word);
  }));
  EXPECT_TRUE(std::any_of(after.begin(), after.end(), [](const Message& word) {
    return std::holds_alternative<Assign>(word);
  }));
}

TEST(Faults, ADiskThatStaysFullStopsAllWorkers) {
  FaultRoom room(evaluations(3), 1);
  room.enroll(1);
  room.turn();
  const auto first = room.assigned(1);
  room.store.disk_full = true;
  room.finish(1, *first);
  for (int i = 0; i < 80 && !room.reactor->stopping(); ++i) {
    room.live_turn(1, 1);
  }
  EXPECT_TRUE(room.reactor->broken());
  EXPECT_THAT(room.reactor->trouble(), HasSubstr("no space left"));
  EXPECT_THAT(room.told_of<Stop>(1), SizeIs(1));
}

TEST(Waiting, EachReasonIsSaid) {
  ReactorOptions options;
  options.time_limit_seconds = 1000;
  options.save_margin_seconds = 10;
  options.suspicion_seconds = 10000;
  std::vector<Task> tasks = {fine_tune_task("f", {}, 1e13),
                             fine_tune_task("g", {"f"}, 1e13),
                             evaluation_task("of_f", "f", {"f"}),
                             evaluation_task("of_g", "g", {"g"}),
                             evaluation_task("endless", "base", {}, 1e15),
                             evaluation_task("short", "base", {}, 1e9)};
  tasks[4].dataset.samples = 1;
  FaultRoom room(tasks, 2, options);
  room.turn();
  EXPECT_EQ(room.reason("short"), "no worker is there yet");
  room.enroll(1, "a");
  room.turn();
  ASSERT_EQ(room.assigned(1)->task.id, "f");
  EXPECT_EQ(room.reason("of_f"), "waits for fine-tune f, which runs on worker 1 (a)");
  EXPECT_EQ(room.reason("of_g"), "waits for fine-tune g, which waits itself");
  EXPECT_THAT(room.reason("endless"), HasSubstr("it can't save"));
  EXPECT_EQ(room.reason("short"), "waits for a worker that is free");
  const auto waiting = room.reactor->waiting(room.now, 100);
  const auto named = std::find_if(waiting.begin(), waiting.end(),
                                  [](const WaitingTask& each) { return each.task == "short"; });
  ASSERT_NE(named, waiting.end());
  EXPECT_EQ(named->cells, (std::vector<std::string>{"short-short", "short-long"}));
}

TEST(Waiting, ARetrySaysWhatHappenedAndWhereItMayGo) {
  FaultRoom room(evaluations(2), 2);
  room.enroll(1, "a");
  room.enroll(2, "b");
  room.turn();
  const auto at_a = room.assigned(1);
  ASSERT_TRUE(at_a);
  room.die(1, *at_a);
  room.turn();
  EXPECT_EQ(room.reason(at_a->task.id),
            "failed once (last on worker 1, a: signal 11) and waits for another node");
}

}  // namespace
}  // namespace ropesweep
