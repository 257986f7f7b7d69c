// Knowing at once that a process of this host has ended, without waiting for its silence. A pid's
// end is seen through a pidfd; where the kernel has none, by looking now and then.
#pragma once

#include <sys/types.h>

#include <string>

#include "experiments/owned_descriptor.h"

namespace ropesweep {

/// One process of this host, not necessarily a child.
class ProcessWatch {
 public:
  explicit ProcessWatch(pid_t pid);
  /// It has ended (or never was).
  bool gone() const;
  /// Blocks until it has, or for so many seconds; a signal may end the wait early.
  void wait(double seconds) const;

 private:
  pid_t pid_;
  OwnedDescriptor pidfd_;
};

/// Ends this process with _exit(exit_code) as soon as `pid` has ended, from a thread of its own: a
/// run leaves nothing behind, whatever the main thread is blocked in.
void exit_when_gone(pid_t pid, int exit_code);

}  // namespace ropesweep
