// A worker's rank from its start under mpirun to its end: the shepherd in its loop, with signals
// and with an eye on the processes whose end is its own.
#pragma once

#include "coordinator/protocol/mpi_channel.h"
#include "worker/shepherd.h"

namespace ropesweep {

/// Returns the rank's exit code when all ranks leave; ends the process itself when it has to leave
/// alone.
int run_shepherd(MpiChannel& channel, ShepherdOptions options);

}  // namespace ropesweep
