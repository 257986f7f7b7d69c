// Available memory from /proc and the control group's files.
#include "worker/tasks/memory.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <string>

namespace ropesweep::tasks {

namespace {

constexpr size_t kUnknown = std::numeric_limits<size_t>::max();

size_t kernel_available() {
  std::ifstream stream("/proc/meminfo");
  std::string name, unit;
  size_t kilobytes = 0;
  while (stream >> name >> kilobytes) {
    std::getline(stream, unit);
    if (name == "MemAvailable:") return kilobytes * 1024;
  }
  return kUnknown;
}

/// A file that holds one number; "max" and absence are unknown.
size_t number_in(const std::string& file) {
  std::ifstream stream(file);
  size_t value = 0;
  return stream >> value ? value : kUnknown;
}

size_t left_of(const std::string& limit_file, const std::string& usage_file) {
  const size_t limit = number_in(limit_file), usage = number_in(usage_file);
  if (limit == kUnknown || usage == kUnknown) return kUnknown;
  return limit > usage ? limit - usage : 0;
}

}  // namespace

size_t available_memory() {
  const std::string root = "/sys/fs/cgroup/";
  const size_t least = std::min(
      {kernel_available(), left_of(root + "memory.max", root + "memory.current"),
       left_of(root + "memory/memory.limit_in_bytes", root + "memory/memory.usage_in_bytes")});
  return least == kUnknown ? 0 : least;
}

}  // namespace ropesweep::tasks
