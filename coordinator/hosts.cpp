// A name becomes a part of mpirun's --host, where ':' and ',' have a meaning: only what host names
// are made of is let through.
#include "coordinator/hosts.h"

#include <algorithm>
#include <fstream>
#include <regex>
#include <sstream>

#include "experiments/error.h"

namespace ropesweep {
namespace {

constexpr int kMostSlots = 9999;

HostWorkers host_of_line(const std::string& place, const std::string& line) {
  static const std::regex name("[A-Za-z0-9_][A-Za-z0-9._-]*"), slots("slots=([0-9]{1,4})");
  std::istringstream words(line);
  HostWorkers host{"", 1};
  words >> host.name;
  if (!std::regex_match(host.name, name)) {
    throw_user_error("{}: '{}' is no name of a host; a line is NAME slots=N", place, host.name);
  }
  for (std::string word; words >> word;) {
    std::smatch match;
    if (std::regex_match(word, match, slots)) {
      host.workers = std::stoi(match[1].str());
    } else if (!word.starts_with("max_slots=") && !word.starts_with("max-slots=")) {
      throw_user_error("{}: '{}': a line is NAME slots=N, with N ≤ {} workers", place, word,
                       kMostSlots);
    }
  }
  return host;
}

}  // namespace

std::vector<HostWorkers> read_hostfile(const std::filesystem::path& file) {
  std::ifstream in(file);
  if (!in) {
    throw_user_error("{}: can't be read: a file of lines 'NAME slots=N', one a host, is expected",
                     file.string());
  }
  std::vector<HostWorkers> hosts;
  int64_t number = 0;
  for (std::string line; std::getline(in, line);) {
    ++number;
    line.resize(std::min(line.find('#'), line.size()));
    if (line.find_first_not_of(" \t\r") == std::string::npos) {
      continue;
    }
    const HostWorkers host = host_of_line(fmt::format("{}:{}", file.string(), number), line);
    const auto known = std::find_if(hosts.begin(), hosts.end(), [&](const HostWorkers& other) {
      return other.name == host.name;
    });
    if (known == hosts.end()) {
      hosts.push_back(host);
    } else {
      known->workers += host.workers;
    }
  }
  std::erase_if(hosts, [](const HostWorkers& host) { return host.workers == 0; });
  if (hosts.empty()) {
    throw_user_error("{}: names no host with a slot; a line is NAME slots=N", file.string());
  }
  return hosts;
}

int total_workers(const std::vector<HostWorkers>& hosts) {
  int sum = 0;
  for (const HostWorkers& host : hosts) {
    sum += host.workers;
  }
  return sum;
}

}  // namespace ropesweep
