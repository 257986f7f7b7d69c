// pidfds.
#include "coordinator/protocol/process_watch.h"

#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <memory>
#include <thread>

namespace ropesweep {
namespace {

constexpr double kLookSeconds = 0.2;  ///< where there is no pidfd
constexpr double kLongWait = 3600;

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

void ProcessWatch::wait(double seconds) const {
  const double limit = pidfd_.valid() ? seconds : std::min(seconds, kLookSeconds);
  pollfd entry{pidfd_.get(), POLLIN, 0};  // A negative descriptor is passed over: a plain sleep.
  ::poll(&entry, 1, static_cast<int>(limit * 1000));
}

void exit_when_gone(pid_t pid, int exit_code) {
  auto watch = std::make_unique<ProcessWatch>(pid);
  std::thread([watch = std::move(watch), exit_code] {
    while (!watch->gone()) {
      watch->wait(kLongWait);
    }
    _exit(exit_code);
  }).detach();
}

}  // namespace ropesweep
