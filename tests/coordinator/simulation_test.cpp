// How near the scheduler comes to what no schedule can beat, over random sweeps in virtual time;
// and those bounds against small cases whose answer is known.
#include "coordinator/simulation.h"

#include <gtest/gtest.h>

#include "tests/coordinator/random_sweep.h"

namespace ropesweep {
namespace {

constexpr uint64_t kSweeps = 100;
constexpr double kDemanded = 1.05;

ScheduledTask task_of(double seconds, std::vector<TaskIndex> needs = {}) {
  return {seconds, true, "base", std::move(needs)};
}

std::vector<double> seconds_of(const std::vector<ScheduledTask>& tasks) {
  std::vector<double> seconds;
  for (const ScheduledTask& task : tasks) seconds.push_back(task.seconds);
  return seconds;
}

TEST(Bounds, OfWhatMustWait) {
  // Ten cells of 10 s wait for one fine-tune of 100 s: nine of ten workers have nothing to do.
  std::vector<ScheduledTask> tasks = {task_of(100)};
  for (int i = 0; i < 50; ++i) tasks.push_back(task_of(10, {0}));
  const Bounds found = bounds(tasks, seconds_of(tasks), 10);
  EXPECT_DOUBLE_EQ(found.critical_path, 110);
  EXPECT_DOUBLE_EQ(found.work, 600);
  EXPECT_DOUBLE_EQ(found.waiting, 150);
  EXPECT_DOUBLE_EQ(found.best(), 150);
  SimulationOptions options;
  options.workers = 10;
  EXPECT_DOUBLE_EQ(simulate(tasks, options).makespan, 150);
}

TEST(Bounds, OfWhatCannotBeCut) {
  // Five equal tasks on two workers take three turns.
  const std::vector<ScheduledTask> tasks(5, task_of(10));
  const Bounds found = bounds(tasks, seconds_of(tasks), 2);
  EXPECT_DOUBLE_EQ(found.waiting, 25);
  EXPECT_DOUBLE_EQ(found.pieces, 30);
  EXPECT_EQ(bounds({}, {}, 3).best(), 0);
}

TEST(Bounds, OfAnEndInOneLongChain) {
  // Twenty short tasks, all before a last one of 100 s.
  std::vector<ScheduledTask> tasks(20, task_of(10));
  std::vector<TaskIndex> all;
  for (TaskIndex i = 0; i < 20; ++i) all.push_back(i);
  tasks.push_back(task_of(100, all));
  EXPECT_DOUBLE_EQ(bounds(tasks, seconds_of(tasks), 4).best(), 150);
}

TEST(Bounds, AreNeverBeatenAndLoadsCount) {
  for (uint64_t seed = 1000; seed < 1000 + kSweeps; ++seed) {
    const RandomSweep sweep = random_sweep(seed, 0.5);
    const Simulation simulation = simulate(sweep.tasks, sweep.options);
    EXPECT_GE(simulation.makespan, simulation.bounds.best() * (1 - 1e-12)) << "seed " << seed;
    EXPECT_GE(simulation.bounds.best(), simulation.lower_bound * (1 - 1e-12)) << "seed " << seed;
    EXPECT_GE(simulation.idle_share, -1e-12);
  }
  const std::vector<ScheduledTask> one = {task_of(10)};
  EXPECT_DOUBLE_EQ(bounds(one, seconds_of(one), 1, 2).work, 12);
}

TEST(Simulation, EndsNearTheBoundInEverySweep) {
  int of_the_plain_bound = 0;
  for (uint64_t seed = 0; seed < kSweeps; ++seed) {
    const RandomSweep sweep = random_sweep(seed, 0);
    const Simulation simulation = simulate(sweep.tasks, sweep.options);
    EXPECT_LE(simulation.makespan, kDemanded * simulation.bounds.best())
        << "seed " << seed << ": " << sweep.tasks.size() << " tasks, " << sweep.options.workers
        << " workers";
    of_the_plain_bound += simulation.makespan <= kDemanded * simulation.lower_bound ? 1 : 0;
  }
  // The rest wait for their first fine-tunes, which max(critical path, work / workers) forgets.
  EXPECT_GE(of_the_plain_bound, 95);
}

TEST(Simulation, BearsEstimatesThatAreHalfWrong) {
  for (uint64_t seed = 0; seed < kSweeps; ++seed) {
    const RandomSweep sweep = random_sweep(seed, 0.5);
    const Simulation simulation = simulate(sweep.tasks, sweep.options);
    EXPECT_LE(simulation.makespan, kDemanded * simulation.bounds.best()) << "seed " << seed;
  }
}

}  // namespace
}  // namespace ropesweep
