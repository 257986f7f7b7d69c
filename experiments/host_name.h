// The name of the machine this process runs on.
#pragma once

#include <unistd.h>

#include <array>
#include <string>

namespace ropesweep {

inline std::string host_name() {
  std::array<char, 256> name{};
  ::gethostname(name.data(), name.size() - 1);
  return name.data();
}

}  // namespace ropesweep
