// The loop sleeps in poll on the runner's socket, and looks at MPI now and then: soon after the
// last word with the coordinator, since an answer is on its way, and seldom in the long while of a
// task. Many ranks may share a core.
#include "worker/shepherd_rank.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <optional>
#include <utility>

#include "coordinator/protocol/process_watch.h"

namespace ropesweep {
namespace {

constexpr double kShortestPoll = 0.001, kLongestPoll = 0.03;  // seconds
constexpr double kPollGrowth = 1.25;

std::atomic<bool> termination{false};

/// The channel, and whether anything has gone over it.
class AttentiveChannel : public Channel {
 public:
  explicit AttentiveChannel(Channel& channel) : channel_(channel) {}
  int rank() const override { return channel_.rank(); }
  int size() const override { return channel_.size(); }
  void send(int to, const Message& message) override {
    spoke_ = true;
    channel_.send(to, message);
  }
  std::optional<std::pair<int, Message>> poll() override {
    auto received = channel_.poll();
    spoke_ = spoke_ || received;
    return received;
  }
  void abandon(int rank) override { channel_.abandon(rank); }
  bool spoke() { return std::exchange(spoke_, false); }

 private:
  Channel& channel_;
  bool spoke_ = true;
};

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

int run_shepherd(MpiChannel& mpi, ShepherdOptions options) {
  AttentiveChannel channel(mpi);
  std::signal(SIGTERM, [](int) { termination = true; });
  // These are the coordinator's to answer: it tells every worker to stop.
  std::signal(SIGINT, SIG_IGN);
  std::signal(SIGUSR1, SIG_IGN);
  std::signal(SIGUSR2, SIG_IGN);
  Shepherd shepherd(std::move(options), channel, seconds_now());
  bool watching = false;
  double poll = kShortestPoll;
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
      poll = channel.spoke() ? kShortestPoll : std::min(kLongestPoll, poll * kPollGrowth);
      shepherd.wait(poll);
    }
  }
  if (!shepherd.in_order()) {
    _exit(1);
  }
  mpi.finish(true, 0);
  return 0;
}

}  // namespace ropesweep
