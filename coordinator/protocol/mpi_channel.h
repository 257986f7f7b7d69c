// The channel between ranks: the only code that knows MPI. A rank never blocks in MPI (a blocked
// receive burns a core): it probes, and its owner sleeps between probes. Signals of broken pipes
// are ignored, and errors are returned: a peer that is gone is noticed by its silence.
#pragma once

#include <memory>
#include <string>

#include "coordinator/protocol/channel.h"

namespace ropesweep {

/// Environment variable by which a launcher learns that ranks gave up waiting for one another.
inline constexpr const char* kLateStartVariable = "ROPESWEEP_LATE_START";

class MpiChannel : public Channel {
 public:
  /// MPI_Init; at most once a process. It waits for all ranks, whatever became of them: after
  /// `patience_seconds` (rounded up) the process says so and ends with code 1, once the file that
  /// kLateStartVariable names is there. Errors: Error(transient).
  static std::unique_ptr<MpiChannel> start(double patience_seconds);

  /// Leaves MPI. `orderly`: every rank leaves now, so MPI_Finalize; it ends the process with
  /// `exit_code` if that hangs for more than some seconds. Otherwise a rank was lost and
  /// MPI_Finalize would wait for it forever: the caller is to leave by _exit.
  virtual void finish(bool orderly, int exit_code) = 0;
};

/// What mpirun told this process through its environment; `size` 0: it was not started by mpirun.
struct MpiEnvironment {
  int rank = 0, size = 0, local_rank = 0, local_size = 1;
};
MpiEnvironment mpi_environment();

}  // namespace ropesweep
