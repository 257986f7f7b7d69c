// pidfds.
#include "coordinator/protocol/process_watch.h"

#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <memory>
#include <thread>

namespace ropesweep {
namespace {

int open_pidfd(pid_t pid) { return static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)); }

bool exists(pid_t pid) { return ::kill(pid, 0) == 0 || errno == EPERM; }

}  // namespace

ProcessWatch::ProcessWatch(pid_t pid) : pid_(pid), pidfd_(open_pidfd(pid)) {}

bool ProcessWatch::gone() const {
  if (!pidfd_.valid()) {
    return !exists(pid_);
  }
  pollfd entry{pidfd_.get(), POLLIN, 0};
  return ::poll(&entry, 1, 0) == 1;
}

void ProcessWatch::wait() const {
  if (pidfd_.valid()) {
    pollfd entry{pidfd_.get(), POLLIN, 0};
    while (::poll(&entry, 1, -1) < 0 && errno == EINTR) {
    }
    return;
  }
  while (exists(pid_)) {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
  }
}

void exit_when_gone(pid_t pid, int exit_code) {
  auto watch = std::make_unique<ProcessWatch>(pid);
  std::thread([watch = std::move(watch), exit_code] {
    watch->wait();
    _exit(exit_code);
  }).detach();
}

std::string host_name() {
  std::array<char, 256> name{};
  ::gethostname(name.data(), name.size() - 1);
  return name.data();
}

}  // namespace ropesweep
