// Text of the bar and the line; the JSON of live.json.
#include "coordinator/progress.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <unordered_set>

namespace ropesweep {
namespace {

constexpr double kBarSeconds = 0.25;
constexpr double kLineSeconds = 60;
constexpr int kBarColumns = 30;
constexpr size_t kWaitingListed = 100;

int64_t settled(const ProgressCounts& counts) {
  return counts.finished + counts.diverged + counts.failed + counts.skipped;
}

std::string counts_text(const ProgressCounts& counts) {
  std::string text = fmt::format("{}/{} cells", settled(counts), counts.cells);
  if (counts.fine_tunes > 0) {
    text += fmt::format(", {}/{} fine-tunes", counts.fine_tunes_finished, counts.fine_tunes);
  }
  text += fmt::format(", {} running", counts.running);
  for (const auto& [count, name] : {std::pair{counts.failed, "failed"},
                                    {counts.skipped, "skipped"},
                                    {counts.diverged, "diverged"}}) {
    if (count > 0) {
      text += fmt::format(", {} {}", count, name);
    }
  }
  for (const std::string& each : counts.left_out) {
    text += ", without " + each;
  }
  return text;
}

}  // namespace

ProgressCounts count_progress(const Reactor& reactor, const StoreContents& contents,
                              const std::vector<std::string>& cells) {
  ProgressCounts counts;
  const std::unordered_set<std::string> wanted(cells.begin(), cells.end());
  counts.cells = static_cast<int64_t>(wanted.size());
  for (const CellRecord& record : contents.cells) {
    if (wanted.contains(record.cell.id)) {
      counts.finished += record.status == "finished" ? 1 : 0;
      counts.diverged += record.status == "diverged" ? 1 : 0;
      counts.failed += record.status == "failed" ? 1 : 0;
      counts.skipped += record.status == "skipped" ? 1 : 0;
    }
  }
  counts.fine_tunes = static_cast<int64_t>(contents.fine_tunes.size());
  counts.fine_tunes_finished =
      std::count_if(contents.fine_tunes.begin(), contents.fine_tunes.end(),
                    [](const FineTuneRecord& record) { return record.status == "finished"; });
  counts.running = reactor.scheduler().running();
  counts.eta_seconds = reactor.eta_seconds();
  for (const LeftOut& each : reactor.left_out()) {
    counts.left_out.push_back(each.what);
  }
  return counts;
}

std::string duration_text(double seconds) {
  const auto whole = static_cast<int64_t>(std::ceil(std::max(0.0, seconds)));
  if (whole < 60) {
    return fmt::format("{} s", whole);
  }
  if (whole < 3600) {
    return fmt::format("{} min {:02} s", whole / 60, whole % 60);
  }
  return fmt::format("{} h {:02} min", whole / 3600, whole % 3600 / 60);
}

std::string progress_bar(const ProgressCounts& counts, int width) {
  const double fraction =
      counts.cells == 0 ? 1
                        : static_cast<double>(settled(counts)) / static_cast<double>(counts.cells);
  const int filled = static_cast<int>(fraction * kBarColumns);
  std::string text = fmt::format("[{:#<{}}{:.<{}}] {:3.0f} % {}, ETA {}", "", filled, "",
                                 kBarColumns - filled, std::floor(fraction * 100),
                                 counts_text(counts), duration_text(counts.eta_seconds));
  text.resize(std::min(text.size(), static_cast<size_t>(std::max(width - 1, 10))));
  return text;
}

std::string progress_line(const ProgressCounts& counts) {
  return counts_text(counts) + ", ETA " + duration_text(counts.eta_seconds);
}

void ProgressPrinter::print(const ProgressCounts& counts, double now) {
  if (width_ > 0) {
    next_ = now + kBarSeconds;
    std::fprintf(stderr, "\r\033[K%s", progress_bar(counts, width_).c_str());
    drawn_ = true;
  } else {
    next_ = now + kLineSeconds;
    std::fprintf(stderr, "ropesweep: %s\n", progress_line(counts).c_str());
  }
  std::fflush(stderr);
}

void ProgressPrinter::finish(const ProgressCounts& counts) {
  if (drawn_) {
    std::fprintf(stderr, "\r\033[K%s\n", progress_bar(counts, width_).c_str());
    std::fflush(stderr);
  }
}

std::string live_text(const Reactor& reactor, double now) {
  nlohmann::json live;
  live["updated_at"] = reactor.wall(now);
  live["eta_seconds"] = reactor.eta_seconds();
  live["workers"] = nlohmann::json::array();
  for (const auto& [rank, worker] : reactor.workers()) {
    if (worker.gone) {
      continue;
    }
    live["workers"].push_back({{"rank", rank},
                               {"host", worker.host},
                               {"device", worker.device},
                               {"task", worker.attempt.task},
                               {"what", worker.suspect                             ? "silent"
                                        : !worker.left_out.empty() && !worker.task ? "left out"
                                                                                   : worker.what},
                               {"fraction", worker.fraction},
                               {"since", worker.task ? reactor.wall(worker.started) : 0.0}});
  }
  live["waiting"] = nlohmann::json::array();
  for (const WaitingTask& waiting : reactor.waiting(now, kWaitingListed)) {
    live["waiting"].push_back(
        {{"task", waiting.task}, {"cells", waiting.cells}, {"reason", waiting.reason}});
  }
  live["left_out"] = nlohmann::json::array();
  for (const LeftOut& each : reactor.left_out()) {
    live["left_out"].push_back({{"what", each.what}, {"why", each.why}});
  }
  return live.dump() + "\n";
}

}  // namespace ropesweep
