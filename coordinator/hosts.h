// The hosts that a launcher's workers are to run on, as mpirun's hostfile names them.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace ropesweep {

struct HostWorkers {
  std::string name;
  int workers = 0;
  bool operator==(const HostWorkers&) const = default;
};

/// Lines "NAME [slots=N]", in their order; what follows a # is a comment. A host's slots are its
/// workers (1 where none are given); a host named again gets more.
/// Errors: user error with file and line.
std::vector<HostWorkers> read_hostfile(const std::filesystem::path& file);

int total_workers(const std::vector<HostWorkers>& hosts);

}  // namespace ropesweep
