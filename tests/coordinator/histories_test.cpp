// The reactor in hundreds of random histories: no result is lost, none counts twice.
#include <gtest/gtest.h>

#include <map>
#include <random>

#include "tests/coordinator/sweep_fixture.h"

namespace ropesweep {
namespace {

/// Workers alone, and in teams.
class Histories : public testing::TestWithParam<int> {};

/// Workers answer, crash, fall silent, come back and answer late, in any order.
TEST_P(Histories, LoseNothingAndCountNothingTwice) {
  const int team = GetParam(), workers = team == 1 ? 3 : 2 * team + 1;
  for (unsigned seed = 0; seed < 200; ++seed) {
    std::mt19937 random(seed);
    std::vector<Task> tasks = {fine_tune_task("f"), fine_tune_task("g", {"f"})};
    for (int i = 0; i < 6; ++i) {
      const std::string needs = i % 3 == 0 ? "" : i % 3 == 1 ? "f" : "g";
      tasks.push_back(evaluation_task(
          fmt::format("e{}", i), needs.empty() ? "base" : needs,
          needs.empty() ? std::vector<std::string>{} : std::vector<std::string>{needs}));
    }
    ReactorOptions options;
    options.crash_limit = 100000;
    options.team_size = team;
    options.suspicion_seconds = 15 * workers;
    Room room(tasks, workers, options);
    std::map<int, std::vector<Assign>> assigned;  // All that a worker ever got.
    for (int worker = 1; worker <= workers; ++worker) {
      room.enroll(worker);
    }
    for (int step = 0; step < 10000 * team && !room.reactor->all_settled(); ++step) {
      const int worker = 1 + static_cast<int>(random() % static_cast<unsigned>(workers));
      for (const Assign& assign : room.told_of<Assign>(worker)) {
        assigned[worker].push_back(assign);
      }
      auto& mine = assigned[worker];
      switch (random() % 8) {
        case 0:
        case 1:
        case 2:
          if (!mine.empty()) {
            room.say(worker, Done{mine.back().attempt, finished(mine.back().task)});
            room.say(worker, RequestWork{mine.back().task.weights_key});
          }
          break;
        case 3:
          if (!mine.empty()) {  // An old answer once more.
            const Assign& any = mine[random() % mine.size()];
            room.say(worker, Done{any.attempt, finished(any.task)});
          }
          break;
        case 4:
          if (!mine.empty() && random() % 4 == 0) {
            Done crash{mine.back().attempt, failure(FailureKind::transient, "crash")};
            crash.lost_member = team > 1 && random() % 2 == 0;
            room.say(worker, crash);
            room.say(worker, RequestWork{});
          }
          break;
        case 5:
          if (random() % 4 == 0) {
            room.say(worker, random() % 2 == 0 ? Message{RequestWork{}} : Message{Hello{}});
          }
          break;
        default:
          room.turn(static_cast<double>(random() % 15));
      }
      room.turn(0.1);
    }
    ASSERT_TRUE(room.reactor->all_settled()) << "seed " << seed;
    std::map<std::string, int> results;
    for (const FakeStore::Ended& ended : room.store.ended) {
      EXPECT_TRUE(ended.durable);
      results[ended.attempt.task] += ended.attempt.status == "finished" ? 1 : 0;
    }
    for (const Task& task : tasks) {
      EXPECT_EQ(results[task.id], 1) << task.id << ", seed " << seed;
    }
    std::map<std::string, int64_t> last;
    for (const AttemptRecord& attempt : room.store.started) {
      EXPECT_EQ(attempt.number, last[attempt.task] + 1) << "numbers rise by one";
      last[attempt.task] = attempt.number;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(TeamsOf, Histories, testing::Values(1, 2, 3),
                         [](const auto& size) { return std::to_string(size.param); });

}  // namespace
}  // namespace ropesweep
