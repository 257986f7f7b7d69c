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
/// Longer without listening is a gap.
constexpr double kDeafSeconds = 1;
/// What is told to people may take so much of the time: with a million cells counting them is work.
constexpr double kTellingShare = 0.02;
constexpr double kProcessLookSeconds = 0.1;
/// A store that can't be written at the end is tried again so often, after so many seconds each.
constexpr int kSealAttempts = 12;
constexpr double kSealPause = 5;

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

/// After a while in which nobody listened, as when the disk stood still: what has come meanwhile is
/// heard, which MPI gives out piece by piece, before anyone is judged by silence.
void catch_up(Channel& channel, Reactor& reactor) {
  constexpr double seconds = 0.25;
  const double until = monotonic_seconds() + seconds;
  while (monotonic_seconds() < until) {
    receive(channel, reactor);
    std::this_thread::sleep_for(std::chrono::duration<double>(kShortestSleep));
  }
}

void run_loop(Channel& channel, Store& store, Reactor& reactor, const std::string& host,
              const std::vector<std::string>& cells, ProgressPrinter& printer) {
  LocalWorkers local;
  double next_live = 0, sleep = kShortestSleep, listened = monotonic_seconds();
  while (true) {
    if (monotonic_seconds() - listened > kDeafSeconds) {
      catch_up(channel, reactor);
    }
    const bool any = receive(channel, reactor);
    const double now = listened = monotonic_seconds();
    local.look(reactor, host, now);
    if (const int signal = stop_signal.exchange(0); signal != 0) {
      reactor.begin_stop(fmt::format("told to stop by signal {}", signal), now);
    }
    reactor.on_turn(now);
    reactor.commit(now);
    if (now >= next_live) {
      store.write_help("live.json", live_text(reactor, now));
      next_live = now + std::max(kLiveSeconds, (monotonic_seconds() - now) / kTellingShare);
    }
    if (printer.due(now)) {
      const double begun = monotonic_seconds();
      printer.print(count_progress(reactor, store.contents(), cells), now);
      printer.not_before(now + (monotonic_seconds() - begun) / kTellingShare);
    }
    if (reactor.over(now)) {
      return;
    }
    store.publish_if_due();
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

/// The store's end: a disk that fails for a while is waited for.
void seal(Store& store, int attempts) {
  while (true) {
    try {
      store.sync();
      return store.publish();
    } catch (const Error& error) {
      if (attempts-- <= 0) throw;
      spdlog::error("{} (trying again)", error.what());
    }
    std::this_thread::sleep_for(std::chrono::duration<double>(kSealPause));
  }
}

}  // namespace

CoordinatorResult coordinate(Channel& channel, Store& store, TaskPool tasks,
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
  store.while_waiting([&reactor] { reactor.show_life(monotonic_seconds()); });
  run_loop(channel, store, reactor, options.reactor.host, cells, printer);

  store.while_waiting({});
  const std::string left_out = text_of(reactor.left_out());
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
  seal(store, reactor.broken() ? 0 : kSealAttempts);
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
    failures = failures || record.status == "failed" || record.status == "skipped";
    settled += is_settled(record.status) ? 1 : 0;
  }
  return settled < wanted.size() ? 75 : failures ? 3 : 0;
}

}  // namespace ropesweep
