// Who works with whom, and what the coordinator makes of a team's answers.
#include "coordinator/teams.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/coordinator/sweep_fixture.h"

namespace ropesweep {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

TEST(Teams, AWorkerAloneIsATeamAtOnce) {
  Teams teams(1);
  teams.wait(3, "a", 0);
  const auto formed = teams.form(0);
  ASSERT_THAT(formed, SizeIs(1));
  EXPECT_THAT(teams[formed[0]].members, ElementsAre(3));
  EXPECT_TRUE(teams[formed[0]].all_idle());
  EXPECT_THAT(teams.form(0), IsEmpty());
}

TEST(Teams, ThoseOfOneHostComeTogether) {
  Teams teams(2);
  teams.wait(1, "a", 0);
  teams.wait(2, "b", 0);
  EXPECT_THAT(teams.form(0), IsEmpty()) << "others of their hosts may be on their way";
  teams.wait(3, "b", 1);
  const auto formed = teams.form(1);
  ASSERT_THAT(formed, SizeIs(1));
  EXPECT_THAT(teams[formed[0]].members, ElementsAre(2, 3));
  teams.wait(4, "c", 1);
  EXPECT_THAT(teams.form(2), IsEmpty());
  const auto mixed = teams.form(10);
  ASSERT_THAT(mixed, SizeIs(1));
  EXPECT_THAT(teams[mixed[0]].members, testing::UnorderedElementsAre(1, 4));
}

TEST(Teams, WhoLeavesIsNotChosen) {
  Teams teams(2);
  teams.wait(1, "a", 0);
  teams.wait(2, "a", 0);
  teams.forget(1);
  EXPECT_THAT(teams.form(100), IsEmpty());
  teams.wait(1, "a", 100);
  const auto formed = teams.form(100);
  ASSERT_THAT(formed, SizeIs(1));
  teams.dissolve(formed[0]);
  EXPECT_THAT(teams.all(), IsEmpty());
  EXPECT_THAT(teams.form(200), IsEmpty()) << "whoever was in it asks again";
}

/// Two workers a task.
class TeamRoom : public Room {
 public:
  TeamRoom(std::vector<Task> tasks, int workers, int64_t crash_limit = 3)
      : Room(std::move(tasks), workers, options(crash_limit)) {
    for (int worker = 1; worker <= workers; ++worker) enroll(worker);
    turn();
  }

  /// The only assignment that a worker has got since it last listened.
  Assign assigned(int worker) {
    const auto all = told_of<Assign>(worker);
    EXPECT_EQ(all.size(), 1U) << "worker " << worker;
    return all.empty() ? Assign{} : all[0];
  }
  void finish(int worker, const Assign& assign) {
    say(worker, Done{assign.attempt, finished(assign.task)});
    say(worker, RequestWork{assign.task.weights_key});
  }

 private:
  static ReactorOptions options(int64_t crash_limit) {
    ReactorOptions options;
    options.team_size = 2;
    options.groups_directory = "/store.d/groups";
    options.crash_limit = crash_limit;
    return options;
  }
};

std::vector<Task> two_evaluations() {
  return {evaluation_task("e", "base"), evaluation_task("f", "base")};
}

TEST(TeamOfTwo, BothGetTheTaskWithTheirPlaces) {
  TeamRoom room({evaluation_task("e", "base")}, 2);
  const Assign first = room.assigned(1), second = room.assigned(2);
  EXPECT_EQ(first.attempt, second.attempt);
  EXPECT_EQ(first.place.rank, 0);
  EXPECT_EQ(second.place.rank, 1);
  EXPECT_EQ(first.place.size, 2);
  EXPECT_EQ(first.place.name, second.place.name);
  EXPECT_EQ(first.place.directory, "/store.d/groups/" + first.place.name);
  EXPECT_EQ(room.store.started.size(), 1U) << "one attempt";
}

TEST(TeamOfTwo, TheLeadersAnswerCountsOnceAllHaveAnswered) {
  TeamRoom room({evaluation_task("e", "base")}, 2);
  const Assign first = room.assigned(1), second = room.assigned(2);
  room.finish(1, first);
  room.turn();
  EXPECT_EQ(room.store.status("e-long"), "pending") << "the other may still fail";
  Done other{second.attempt, {}};  // says nothing about cells, and need not
  room.say(2, other);
  room.turn();
  EXPECT_EQ(room.store.status("e-long"), "finished");
  EXPECT_TRUE(room.reactor->all_settled());
  EXPECT_EQ(room.told_of<Acknowledge>(2).size(), 1U);
}

TEST(TeamOfTwo, KeepsItsGroupUntilARunnerIsNew) {
  TeamRoom room(
      {evaluation_task("e", "base"), evaluation_task("f", "base"), evaluation_task("g", "base")},
      2);
  const Assign first = room.assigned(1);
  room.finish(1, first);
  room.finish(2, room.assigned(2));
  room.turn();
  const Assign second = room.assigned(1);
  EXPECT_EQ(second.place.name, first.place.name);
  room.finish(1, second);
  room.say(2, Done{second.attempt, {}});
  room.say(2, RequestWork{});  // its runner died meanwhile, and holds nothing
  room.turn();
  EXPECT_NE(room.assigned(1).place.name, first.place.name);
}

TEST(TeamOfTwo, AFailureEndsItForTheOtherAsOneAttempt) {
  TeamRoom room({evaluation_task("e", "base")}, 2, 2);
  const Assign first = room.assigned(1);
  room.say(2, Done{first.attempt, failure(FailureKind::transient, "signal 9")});
  room.turn();
  EXPECT_EQ(room.told_of<Abandon>(1).size(), 1U);
  EXPECT_EQ(room.told_of<Abandon>(2).size(), 0U);
  ASSERT_EQ(room.store.ended.size(), 1U);
  EXPECT_EQ(room.store.ended[0].outcome.failure, "signal 9");
  room.say(1, RequestWork{});
  room.say(2, RequestWork{});
  room.turn();
  const Assign again = room.assigned(1);
  EXPECT_EQ(again.attempt.number, 2);
  EXPECT_NE(again.place.name, first.place.name);
}

TEST(TeamOfTwo, WhoLostAnotherWaitsForThatOnesReason) {
  TeamRoom room({evaluation_task("e", "base")}, 2);
  const Assign first = room.assigned(1);
  Done lost{first.attempt, failure(FailureKind::transient, "rank 0 of 2 lost another")};
  lost.lost_member = true;
  room.say(1, lost);
  room.turn(1);
  EXPECT_TRUE(room.store.ended.empty());
  room.say(2, Done{first.attempt, failure(FailureKind::user, "data.txt: empty")});
  room.turn(1);
  ASSERT_EQ(room.store.ended.size(), 1U);
  EXPECT_EQ(room.store.ended[0].outcome.failure, "data.txt: empty");
  EXPECT_EQ(room.store.status("e-long"), "failed");
}

TEST(TeamOfTwo, WhoLostAnotherDoesNotWaitForEver) {
  TeamRoom room({evaluation_task("e", "base")}, 2);
  const Assign first = room.assigned(1);
  Done lost{first.attempt, failure(FailureKind::transient, "rank 0 of 2 lost another")};
  lost.lost_member = true;
  room.say(1, lost);
  room.turn(1);
  room.turn(6);
  ASSERT_EQ(room.store.ended.size(), 1U);
  EXPECT_EQ(room.store.ended[0].attempt.status, "failed");
  EXPECT_EQ(room.told_of<Abandon>(2).size(), 1U);
}

TEST(TeamOfTwo, AStopOfOneIsAStopOfBoth) {
  TeamRoom room({fine_tune_task("f")}, 2, 1);
  const Assign first = room.assigned(1);
  Done lost{first.attempt, failure(FailureKind::transient, "rank 0 of 2 lost another")};
  lost.lost_member = true;
  room.say(1, lost);
  room.say(2, Done{first.attempt, failure(FailureKind::time, "told to stop")});
  room.turn();
  ASSERT_EQ(room.store.ended.size(), 1U);
  EXPECT_EQ(room.store.ended[0].attempt.status, "stopped");
  EXPECT_EQ(room.store.status("f"), "pending") << "counts as no crash";
}

TEST(TeamOfTwo, ALostWorkersPartnerFindsAnother) {
  TeamRoom room(two_evaluations(), 3);
  const Assign first = room.assigned(1);
  EXPECT_EQ(room.assigned(2).attempt, first.attempt);
  EXPECT_TRUE(room.told_of<Assign>(3).empty()) << "a task takes two";
  room.reactor->on_process_gone(1, room.now);
  EXPECT_EQ(room.told_of<Abandon>(2).size(), 1U);
  room.say(2, RequestWork{});
  room.turn();
  const Assign again = room.assigned(2);
  EXPECT_EQ(room.assigned(3).attempt, again.attempt);
  ASSERT_EQ(room.store.ended.size(), 1U);
  EXPECT_EQ(room.store.ended[0].attempt.status, "lost");
}

TEST(TeamOfTwo, TooFewWorkersEndTheRun) {
  TeamRoom room({evaluation_task("e", "base")}, 2);
  room.reactor->on_process_gone(1, room.now);
  room.say(2, RequestWork{});
  room.turn(1);
  EXPECT_FALSE(room.reactor->over(room.now));
  room.say(2, Heartbeat{});
  room.turn(31);
  EXPECT_TRUE(room.reactor->broken());
  EXPECT_NE(room.reactor->trouble().find("gpus_per_task"), std::string::npos)
      << room.reactor->trouble();
}

}  // namespace
}  // namespace ropesweep
