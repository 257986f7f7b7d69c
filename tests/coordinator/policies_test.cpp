// Verdicts, estimates, the simulation, progress texts, the run's status file, mpirun's command
// line, and what the store says at the end.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "coordinator/coordinator.h"
#include "coordinator/launcher.h"
#include "coordinator/progress.h"
#include "coordinator/retry_policy.h"
#include "coordinator/run_status.h"
#include "coordinator/simulation.h"
#include "tests/coordinator/sweep_fixture.h"
#include "tests/temporary_folder.h"

namespace ropesweep {
namespace {

Trials after(int64_t crashes, int64_t limit = 3) {
  Trials trials;
  trials.crashes = crashes;
  trials.crash_limit = limit;
  return trials;
}

TEST(RetryPolicy, FollowsTheKind) {
  EXPECT_EQ(judge(FailureKind::none, after(0)), Verdict::finished);
  EXPECT_EQ(judge(FailureKind::diverged, after(0)), Verdict::diverged);
  EXPECT_EQ(judge(FailureKind::user, after(0)), Verdict::failed);
  EXPECT_EQ(judge(FailureKind::time, after(100)), Verdict::requeue);
  for (FailureKind kind : {FailureKind::transient, FailureKind::memory}) {
    EXPECT_EQ(judge(kind, after(0)), Verdict::retry);
    EXPECT_EQ(judge(kind, after(1)), Verdict::retry);
    EXPECT_EQ(judge(kind, after(2)), Verdict::failed);
    EXPECT_EQ(judge(kind, after(0, 1)), Verdict::failed);
  }
}

TEST(RetryPolicy, MemoryIsTriedWithinLessThenOnMoreBeforeItCounts) {
  Trials trials = after(2);
  trials.can_be_thriftier = trials.can_be_larger = true;
  EXPECT_EQ(judge(FailureKind::memory, trials), Verdict::thriftier);
  EXPECT_FALSE(is_crash(FailureKind::memory, Verdict::thriftier));
  EXPECT_EQ(judge(FailureKind::transient, trials), Verdict::failed);
  trials.can_be_thriftier = false;
  EXPECT_EQ(judge(FailureKind::memory, trials), Verdict::larger);
  EXPECT_FALSE(is_crash(FailureKind::memory, Verdict::larger));
  trials.can_be_larger = false;
  EXPECT_EQ(judge(FailureKind::memory, trials), Verdict::failed);
  EXPECT_TRUE(is_crash(FailureKind::memory, Verdict::failed));
}

TEST(CostModel, LearnsByClass) {
  CostModel costs;
  Task wiki = evaluation_task("e", "base", {}, 1e12);
  wiki.dataset.kind = "synthetic-wiki";
  EXPECT_DOUBLE_EQ(costs.seconds(wiki), 1e12 / CostModel::kPriorRate);
  costs.observe(wiki, 4);
  EXPECT_DOUBLE_EQ(costs.seconds(wiki), 4);
  costs.observe(wiki, 8);
  EXPECT_DOUBLE_EQ(costs.seconds(wiki), 6);
  Task lines = wiki;
  lines.dataset.kind = "lines";
  EXPECT_DOUBLE_EQ(costs.seconds(lines), 6) << "an unknown class takes the mean rate";
  costs.observe(lines, 100);
  EXPECT_DOUBLE_EQ(costs.seconds(lines), 100);
  EXPECT_DOUBLE_EQ(costs.seconds(wiki), 6);
  wiki.flops = 0;
  EXPECT_DOUBLE_EQ(costs.seconds(wiki), CostModel::kMinimumSeconds);
}

TEST(Simulation, IsNearItsBound) {
  std::vector<Task> tasks = {fine_tune_task("f", {}, 5e12), fine_tune_task("g", {"f"}, 5e12)};
  for (int i = 0; i < 30; ++i) {
    tasks.push_back(evaluation_task(fmt::format("e{}", i), "base", {}, 5e11));
  }
  const Simulation alone = simulate(tasks, {}, 1);
  EXPECT_NEAR(alone.makespan, 500, 1e-6);
  EXPECT_NEAR(alone.total_seconds, 500, 1e-6);
  const Simulation two = simulate(tasks, {}, 2);
  EXPECT_NEAR(two.lower_bound, 250, 1e-6);
  EXPECT_NEAR(two.makespan, 250, 10 + 1e-6)
      << "longest first: at most one short task above the bound";
  const Simulation many = simulate(tasks, {}, 100);
  EXPECT_NEAR(many.critical_path, 200, 1e-6);
  EXPECT_NEAR(many.makespan, 200, 1e-6);
  EXPECT_EQ(simulate({}, {}, 3).makespan, 0);
}

TEST(Progress, SaysWhatIsDoneInOneLine) {
  ProgressCounts counts;
  counts.cells = 8;
  counts.finished = 3;
  counts.failed = 1;
  counts.running = 2;
  counts.eta_seconds = 65;
  EXPECT_EQ(progress_line(counts), "4/8 cells, 2 running, 1 failed, ETA 1 min 05 s");
  const std::string bar = progress_bar(counts, 200);
  EXPECT_TRUE(bar.starts_with("[###############...............]  50 % 4/8 cells")) << bar;
  EXPECT_LE(progress_bar(counts, 40).size(), 40U);
  EXPECT_EQ(duration_text(0.2), "1 s");
  EXPECT_EQ(duration_text(7260), "2 h 01 min");
}

TEST(RunStatus, IsOfOneRunOnly) {
  const TemporaryFolder directory;
  EXPECT_FALSE(read_run_status(directory.path(), "a"));
  write_run_status(directory.path(), {"a", 17, std::nullopt});
  EXPECT_FALSE(read_run_status(directory.path(), "b"));
  ASSERT_TRUE(read_run_status(directory.path(), "a"));
  EXPECT_FALSE(read_run_status(directory.path(), "a")->exit_code);
  write_run_status(directory.path(), {"a", 17, 75});
  EXPECT_EQ(read_run_status(directory.path(), "a")->exit_code, 75);
  std::ofstream(directory.path() / "run.json") << "{\"run\": 3";
  EXPECT_FALSE(read_run_status(directory.path(), "a"));
  EXPECT_THROW(write_run_status(directory.path() / "missing", {}), Error);
}

TEST(LiveFile, TellsWhoDoesWhat) {
  Room room(
      {evaluation_task("e", "base"), fine_tune_task("f"), evaluation_task("later", "f", {"f"})}, 1);
  room.enroll(1);
  room.turn();
  room.say(1, Heartbeat{{"f", 1}, 0.25, "step 3 of 12"});
  room.turn();
  const nlohmann::json live = nlohmann::json::parse(live_text(*room.reactor, room.now));
  ASSERT_EQ(live.at("workers").size(), 1U);
  EXPECT_EQ(live["workers"][0]["task"], "f");
  EXPECT_EQ(live["workers"][0]["fraction"], 0.25);
  EXPECT_EQ(live["workers"][0]["what"], "step 3 of 12");
  ASSERT_EQ(live.at("waiting").size(), 2U);
  EXPECT_EQ(live["waiting"][1]["reason"], "waits for fine-tune f, which runs on worker 1 (host)");
  EXPECT_GT(live.at("eta_seconds").get<double>(), 0);
}

TEST(Launcher, StartsOneRankMoreThanWorkers) {
  LaunchOptions options;
  options.command = {"/bin/ropesweep", "run", "a sweep.toml"};
  options.workers = 4;
  const std::vector<std::string> command = mpirun_command(options, "/scratch");
  EXPECT_EQ(command.front(), "mpirun");
  EXPECT_EQ(command.back(), "a sweep.toml") << "no shell is in between";
  const auto count = std::find(command.begin(), command.end(), "-n");
  ASSERT_NE(count, command.end());
  EXPECT_EQ(*std::next(count), "5");
  EXPECT_NE(std::find(command.begin(), command.end(), "--enable-recovery"), command.end());
}

TEST(CompletionCode, IsTheStoresWord) {
  FakeStore store;
  plan(store, {evaluation_task("e", "base")});
  const std::vector<std::string> cells = {"e-short", "e-long"};
  EXPECT_EQ(completion_code(store.contents(), cells), 75);
  store.set_status("e-short", "finished");
  store.set_status("e-long", "diverged");
  EXPECT_EQ(completion_code(store.contents(), cells), 0);
  store.set_status("e-long", "skipped");
  EXPECT_EQ(completion_code(store.contents(), cells), 3);
  EXPECT_EQ(completion_code(store.contents(), {"e-short"}), 0) << "other sweeps' cells don't count";
}

}  // namespace
}  // namespace ropesweep
