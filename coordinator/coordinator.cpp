// A turn: every message that has come, lost processes, time, one sync, acknowledgements; then a
// sleep of 1 to 10 milliseconds.
#include "coordinator/coordinator.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <map>
#include <thread>
#include <unordered_set>

#include "coordinator/progress.h"
#include "coordinator/protocol/process_watch.h"
#include "experiments/host_name.h"

namespace ropesweep {
namespace {

constexpr double kShortestSleep = 0.001, kLongestSleep = 0.010;
constexpr double kLiveSeconds = 1;
constexpr double kProcessLookSeconds = 0.1;

std::atomic<int> stop_signal{0};

double seconds_since_epoch() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

/// Seconds that never go back.
double monotonic_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// The workers of this host, whose end is seen at once.
class LocalWorkers {
 public:
  void look(Reactor& reactor, const std::string& host, double now) {
    if (now < next_) {
      return;
    }
    next_ = now + kProcessLookSeconds;
    std::vector<int> gone;
    for (const auto& [rank, worker] : reactor.workers()) {
      if (worker.host != host || worker.pid <= 0 || worker.gone) {
        watches_.erase(rank);
        continue;
      }
      const auto watch = watches_.try_emplace(rank, static_cast<pid_t>(worker.pid)).first;
      if (watch->second.gone()) {
        gone.push_back(rank);
      }
    }
    for (int rank : gone) {
      watches_.erase(rank);
      reactor.on_process_gone(rank, now);
    }
  }

 private:
  std::map<int, ProcessWatch> watches_;
  double next_ = 0;
};

/// All messages that have come. True when there were any.
bool receive(Channel& channel, Reactor& reactor) {
  bool any = false;
  while (true) {
    try {
      const auto received = channel.poll();
      if (!received) {
        return any;
      }
      any = true;
      reactor.on_message(received->first, received->second, monotonic_seconds());
    } catch (const Error& error) {
      spdlog::error("{} (dropped)", error.what());
    }
  }
}

/// What is published can be published later: the journal has it all.
void publish_if_due(Store& store, bool& fails) {
  try {
    store.publish_if_due();
    fails = false;
  } catch (const Error& error) {
    if (!fails) {
      spdlog::error("the store can't be published: {}; it is tried again, and nothing is lost",
                    error.what());
    }
    fails = true;
  }
}

void run_loop(Channel& channel, Store& store, Reactor& reactor, const std::string& host,
              const std::vector<std::string>& cells, ProgressPrinter& printer) {
  LocalWorkers local;
  double next_live = 0, sleep = kShortestSleep;
  bool publishing_fails = false;
  while (true) {
    const bool any = receive(channel, reactor);
    const double now = monotonic_seconds();
    local.look(reactor, host, now);
    if (const int signal = stop_signal.exchange(0); signal != 0) {
      reactor.begin_stop(fmt::format("told to stop by signal {}", signal), now);
    }
    reactor.on_turn(now);
    reactor.commit(now);
    if (now >= next_live) {
      next_live = now + kLiveSeconds;
      write_live_file(store.directory(), reactor, now);
    }
    if (printer.due(now)) {
      printer.print(count_progress(reactor, store.contents(), cells), now);
    }
    if (reactor.over(now)) {
      return;
    }
    publish_if_due(store, publishing_fails);
    sleep = any ? kShortestSleep : std::min(kLongestSleep, sleep * 1.25);
    std::this_thread::sleep_for(std::chrono::duration<double>(sleep));
  }
}

/// The last run's, for `status`.
void note_left_out(Store& store, const std::string& left_out) {
  const auto& known = store.contents().provenance.text;
  const auto found = known.find("left_out");
  if ((found == known.end() ? "" : found->second) != left_out) {
    store.provenance("left_out", left_out);
  }
}

}  // namespace

CoordinatorResult coordinate(Channel& channel, Store& store, std::vector<Task> tasks,
                             const std::vector<std::string>& cells, CoordinatorOptions options) {
  for (int signal : {SIGTERM, SIGINT, SIGUSR1}) {
    std::signal(signal, [](int number) { stop_signal = number; });
  }
  const double start = monotonic_seconds();
  options.reactor.wall_offset = seconds_since_epoch() - start;
  options.reactor.host = host_name();
  options.reactor.pid = ::getpid();
  Reactor reactor(options.reactor, std::move(tasks), store, channel, start);
  ProgressPrinter printer(options.terminal_width, options.quiet);
  run_loop(channel, store, reactor, options.reactor.host, cells, printer);

  std::string left_out;
  for (const LeftOut& each : reactor.left_out()) {
    left_out += fmt::format("{}{}: {}", left_out.empty() ? "" : "; ", each.what, each.why);
  }
  if (!left_out.empty()) {
    spdlog::error("left out: {}", left_out);
  }
  if (reactor.broken() && !reactor.trouble().empty()) {
    // Whatever the end of the store's own writing says, this comes first.
    spdlog::error("{}", reactor.trouble());
  }
  note_left_out(store, left_out);
  printer.finish(count_progress(reactor, store.contents(), cells));
  store.provenance("completed", reactor.all_settled() ? "yes" : "no");
  store.sync();
  store.publish();
  std::error_code ignored;
  std::filesystem::remove(store.directory() / "live.json", ignored);

  CoordinatorResult result;
  result.in_order = reactor.all_left_in_order();
  result.exit_code = completion_code(store.contents(), cells);
  if (!reactor.all_settled()) {
    spdlog::warn("work remains ({}): run it again to go on", reactor.trouble());
    result.exit_code = reactor.broken() ? 1 : 75;
  }
  return result;
}

int completion_code(const StoreContents& contents, const std::vector<std::string>& cells) {
  const std::unordered_set<std::string> wanted(cells.begin(), cells.end());
  bool failures = false;
  size_t settled = 0;
  for (const CellRecord& record : contents.cells) {
    if (!wanted.contains(record.cell.id)) {
      continue;
    }
    const bool failed = record.status == "failed" || record.status == "skipped";
    failures = failures || failed;
    settled += failed || record.status == "finished" || record.status == "diverged" ? 1 : 0;
  }
  return settled < wanted.size() ? 75 : failures ? 3 : 0;
}

}  // namespace ropesweep
