// The loop sleeps in poll on the runner's socket; MPI is looked at every few milliseconds.
#include "worker/shepherd_rank.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>

#include "coordinator/protocol/process_watch.h"

namespace ropesweep {
namespace {

constexpr double kPollSeconds = 0.005;

std::atomic<bool> termination{false};

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

int run_shepherd(MpiChannel& channel, ShepherdOptions options) {
  std::signal(SIGTERM, [](int) { termination = true; });
  // These are the coordinator's to answer: it tells every worker to stop.
  std::signal(SIGINT, SIG_IGN);
  std::signal(SIGUSR1, SIG_IGN);
  std::signal(SIGUSR2, SIG_IGN);
  Shepherd shepherd(std::move(options), channel, seconds_now());
  bool watching = false;
  while (!shepherd.over()) {
    try {
      shepherd.turn(seconds_now());
    } catch (const Error& error) {
      spdlog::error("worker {}: {}", channel.rank(), error.what());
    }
    if (termination.exchange(false)) {
      shepherd.request_stop("terminated");
    }
    if (!watching && shepherd.coordinator_pid() > 0) {
      watching = true;
      exit_when_gone(static_cast<pid_t>(shepherd.coordinator_pid()), 0);
    }
    if (!shepherd.over()) {
      shepherd.wait(kPollSeconds);
    }
  }
  if (!shepherd.in_order()) {
    _exit(1);
  }
  channel.finish(true, 0);
  return 0;
}

}  // namespace ropesweep
