// What the kernel says of this process's memory.
#pragma once

#include <cstdlib>
#include <fstream>
#include <string>

namespace ropesweep {

/// "VmHWM" (the most so far) or "VmRSS" (now), MiB.
inline double process_memory(const std::string& name) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(name + ":")) return std::atof(line.c_str() + name.size() + 1) / 1024;
  }
  return 0;
}

}  // namespace ropesweep
