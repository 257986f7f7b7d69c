// Rank 0: the reactor in its loop, between channel, store, signals and the person who waits.
#pragma once

#include <string>
#include <vector>

#include "coordinator/protocol/channel.h"
#include "coordinator/reactor.h"
#include "storage/store.h"

namespace ropesweep {

struct CoordinatorOptions {
  ReactorOptions reactor;
  int terminal_width = 0;  ///< 0: no terminal
  bool quiet = false;
};

struct CoordinatorResult {
  int exit_code = 0;     ///< docs/commands.md: 0, 1, 3, 75
  bool in_order = true;  ///< every worker left as told: MPI can be left, too
};

/// Runs `tasks` on the channel's workers until all is settled, the time is over or a signal says
/// stop (SIGTERM, SIGINT, SIGUSR1). `cells`: ids of the sweep's cells.
CoordinatorResult coordinate(Channel& channel, Store& store, TaskPool tasks,
                             const std::vector<std::string>& cells, CoordinatorOptions options);

/// What the store says about a sweep's cells: 0 all have results, 3 some failed or were skipped, 75
/// some are still to be done.
int completion_code(const StoreContents& contents, const std::vector<std::string>& cells);

}  // namespace ropesweep
