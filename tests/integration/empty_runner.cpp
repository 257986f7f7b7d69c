// A runner that computes nothing: it answers every task at once (or after ROPESWEEP_EMPTY_SECONDS),
// with cells without figures. With it, ROPESWEEP_RUNNER=… ropesweep run … is the machinery alone:
// ranks, messages, journal.
#include <poll.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <optional>
#include <string>

#include "coordinator/protocol/socket_channel.h"

namespace {

using namespace ropesweep;  // NOLINT: a program of its own
using Clock = std::chrono::steady_clock;

Done answer(const Assign& assign) {
  Done done;
  done.attempt = assign.attempt;
  done.outcome.seconds = 1e-6;
  done.outcome.device = "none";
  for (const Cell& cell : assign.task.cells) {
    done.outcome.cells.emplace_back().cell = cell.id;
  }
  if (assign.task.kind == TaskKind::fine_tune) {
    done.outcome.fine_tunes.emplace_back().fine_tune = assign.task.id;
  }
  return done;
}

void serve(SocketChannel& channel, double seconds) {
  std::optional<Assign> task;
  Clock::time_point due, next_beat = Clock::now();
  while (!channel.closed()) {
    while (const auto received = channel.poll()) {
      if (const auto* assign = std::get_if<Assign>(&received->second)) {
        task = *assign;
        due = Clock::now() +
              std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
      } else if (std::holds_alternative<Stop>(received->second)) {
        return;
      }
    }
    const auto now = Clock::now();
    if (task && now >= due) {
      channel.send(0, answer(*task));
      task.reset();
    }
    if (now >= next_beat) {
      channel.send(0, task ? Heartbeat{task->attempt, 0.5, "nothing"} : Heartbeat{});
      next_beat = now + std::chrono::seconds(1);
    }
    const auto until = std::max(task ? std::min(due, next_beat) : next_beat, now) - now;
    pollfd entry{channel.fd(), static_cast<short>(POLLIN | (channel.wants_write() ? POLLOUT : 0)),
                 0};
    ::poll(
        &entry, 1,
        1 + static_cast<int>(std::chrono::duration_cast<std::chrono::milliseconds>(until).count()));
  }
}

}  // namespace

int main(int count, char** arguments) {
  std::signal(SIGPIPE, SIG_IGN);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  int socket = -1;
  for (int i = 1; i + 1 < count; ++i) {
    if (std::string(arguments[i]) == "--socket") socket = std::atoi(arguments[i + 1]);
  }
  const char* seconds = std::getenv("ROPESWEEP_EMPTY_SECONDS");
  SocketChannel channel(OwnedDescriptor(socket), 1);
  serve(channel, seconds == nullptr ? 0 : std::atof(seconds));
}
