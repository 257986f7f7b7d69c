// `ropesweep run` without mpirun: starts one on this host or others and looks after it, since a
// recovering mpirun's exit status says nothing and it may hang at the end. The run's own status
// file says how it went.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "coordinator/hosts.h"

namespace ropesweep {

struct LaunchOptions {
  std::vector<std::string> command;  ///< the program and its arguments, as each rank gets them
  int workers = 2;                   ///< one rank more is started, for the coordinator
  std::vector<HostWorkers> hosts;    ///< in place of `workers`; the coordinator joins the first
  bool slurm = false;                ///< the hosts are nodes of the Slurm job that this runs in
  std::filesystem::path directory;   ///< NAME.d, where run.json will be
  int terminal_width = 0;            ///< of the launcher's own terminal; 0: none
};

/// Environment variables by which a rank knows that a launcher started it.
inline constexpr const char* kRunVariable = "ROPESWEEP_RUN";
inline constexpr const char* kTerminalVariable = "ROPESWEEP_TERMINAL";

/// mpirun's arguments, itself first.
std::vector<std::string> mpirun_command(const LaunchOptions& options,
                                        const std::filesystem::path& scratch);

/// Starts mpirun, forwards SIGTERM, SIGINT and SIGUSR1 as a wish to stop, waits, and cleans up.
/// Returns the run's exit code; 1 when its coordinator ended without leaving one.
/// Errors: user error when there is no mpirun.
int launch(const LaunchOptions& options);

}  // namespace ropesweep
