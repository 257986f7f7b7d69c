// Sweeps as people write them, by chance: chains of fine-tunes, and cells of all lengths that wait
// for them. The same for the same seed on every machine.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "coordinator/simulation.h"

namespace ropesweep {

struct RandomSweep {
  std::vector<ScheduledTask> tasks;
  SimulationOptions options;  ///< workers, load, and what tasks really take
};

class SweepDice {
 public:
  explicit SweepDice(uint64_t seed) : random_(seed) {}
  /// [0, 1)
  double share() { return static_cast<double>(random_() >> 11) * 0x1p-53; }
  int64_t between(int64_t least, int64_t most) {
    return least + static_cast<int64_t>(share() * static_cast<double>(most - least + 1));
  }
  /// Every order of magnitude alike.
  double seconds(double least, double most) { return least * std::pow(most / least, share()); }

 private:
  std::mt19937_64 random_;
};

/// 1 to 64 workers; 0 to 40 fine-tunes, a third of them on top of another; 2 to 60 cells for each
/// and for the base model, over two and a half orders of magnitude. `error` 0.5: tasks take half to
/// one and a half times what is thought.
inline RandomSweep random_sweep(uint64_t seed, double error) {
  SweepDice dice(seed);
  RandomSweep sweep;
  sweep.options.workers = dice.between(1, 64);
  const int64_t fine_tunes = dice.between(0, 40);
  for (int64_t i = 0; i < fine_tunes; ++i) {
    ScheduledTask task{dice.seconds(30, 1000), true, "base", {}};
    if (i > 0 && dice.share() < 1.0 / 3) {
      task.needs = {dice.between(0, i - 1)};
      task.weights_key = std::to_string(task.needs[0]);
    }
    sweep.tasks.push_back(task);
  }
  for (int64_t of = -1; of < fine_tunes; ++of) {
    for (int64_t cells = dice.between(2, 60); cells > 0; --cells) {
      ScheduledTask task{dice.seconds(1, 300), dice.share() < 0.9, "base", {}};
      if (of >= 0) {
        task.needs = {of};
        task.weights_key = std::to_string(of);
      }
      sweep.tasks.push_back(task);
    }
  }
  sweep.options.load_seconds = dice.share() < 0.5 ? 0 : dice.seconds(0.1, 2);
  for (const ScheduledTask& task : sweep.tasks) {
    sweep.options.seconds.push_back(task.seconds * (1 + error * (2 * dice.share() - 1)));
  }
  return sweep;
}

}  // namespace ropesweep
