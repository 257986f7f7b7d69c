// Reading live.json, counting, and printing both.
#include "analysis/status.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "analysis/waiting.h"

namespace ropesweep {
namespace {

constexpr size_t kMostListed = 8;     ///< failures and waiting tasks shown
constexpr double kStaleSeconds = 10;  ///< an older live.json is told to be old

/// A field of a type that a damaged or foreign file may not have.
template <typename Value>
Value field(const nlohmann::json& json, const char* name, Value otherwise) {
  const auto found = json.find(name);
  if (found == json.end() || found->is_null()) return otherwise;
  return found->get<Value>();
}

LiveView live_from(const nlohmann::json& json) {
  LiveView live;
  live.updated_at = field(json, "updated_at", 0.0);
  live.eta_seconds = field(json, "eta_seconds", std::numeric_limits<double>::quiet_NaN());
  for (const nlohmann::json& each : json.value("workers", nlohmann::json::array())) {
    LiveWorker worker;
    worker.rank = field(each, "rank", int64_t{0});
    worker.host = field(each, "host", std::string());
    worker.device = field(each, "device", std::string());
    worker.task = field(each, "task", std::string());
    worker.what = field(each, "what", std::string());
    worker.fraction = field(each, "fraction", 0.0);
    worker.since = field(each, "since", 0.0);
    live.workers.push_back(worker);
  }
  for (const nlohmann::json& each : json.value("waiting", nlohmann::json::array())) {
    live.waiting.push_back({field(each, "task", std::string()),
                            field(each, "cells", std::vector<std::string>()),
                            field(each, "reason", std::string())});
  }
  for (const nlohmann::json& each : json.value("left_out", nlohmann::json::array())) {
    live.left_out.emplace_back(field(each, "what", std::string()),
                               field(each, "why", std::string()));
  }
  return live;
}

/// Failed and skipped cells and fine-tunes by their reason.
std::vector<std::string> count_failures(const StoreContents& contents) {
  std::map<std::string, int64_t> reasons;
  const auto count = [&reasons](const std::string& what, const auto& record) {
    if (record.status != "failed" && record.status != "skipped" && record.status != "diverged") {
      return;
    }
    ++reasons[fmt::format("{} {} ({}): {}", what, record.status, to_string(record.failure_kind),
                          record.failure)];
  };
  for (const CellRecord& record : contents.cells) count("cell", record);
  for (const FineTuneRecord& record : contents.fine_tunes) count("fine-tune", record);
  std::vector<std::pair<int64_t, std::string>> sorted;
  for (const auto& [reason, number] : reasons) sorted.emplace_back(-number, reason);
  std::sort(sorted.begin(), sorted.end());
  std::vector<std::string> lines;
  for (const auto& [negative, reason] : sorted)
    lines.push_back(fmt::format("{} × {}", -negative, reason));
  return lines;
}

/// "12 finished, 3 pending" in the order of a cell's life.
std::string counts_text(const std::map<std::string, int64_t>& counts) {
  std::string text;
  for (const char* status : {"finished", "diverged", "running", "pending", "failed", "skipped",
                             "lost", "stopped", "stale"}) {
    const auto found = counts.find(status);
    if (found == counts.end()) continue;
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", found->second, status);
  }
  return text.empty() ? "none" : text;
}

int64_t total(const std::map<std::string, int64_t>& counts) {
  int64_t sum = 0;
  for (const auto& [status, number] : counts) sum += number;
  return sum;
}

void print_list(std::ostream& out, const std::string& title,
                const std::vector<std::string>& lines) {
  if (lines.empty()) return;
  out << '\n' << title << '\n';
  for (size_t i = 0; i < std::min(lines.size(), kMostListed); ++i) out << "  " << lines[i] << '\n';
  if (lines.size() > kMostListed) out << "  and " << lines.size() - kMostListed << " more\n";
}

void print_worker(std::ostream& out, const LiveWorker& worker, double now) {
  out << fmt::format("  {:>4}  {}  {}", worker.rank, worker.host, worker.device);
  if (worker.task.empty()) {
    out << "  " << (worker.what.empty() ? "idle" : worker.what) << '\n';
    return;
  }
  out << fmt::format("  {:3.0f} %  {}  task {}, since {}\n", 100 * worker.fraction, worker.what,
                     worker.task, duration_words(now - worker.since));
}

void print_run(std::ostream& out, const StoreStatus& status, double now) {
  if (!status.holder) {
    out << "no run is going on\n";
    return;
  }
  out << fmt::format("running: process {} on {}", status.holder->pid, status.holder->host);
  if (!status.live) {
    out << '\n';
    return;
  }
  const double age = now - status.live->updated_at;
  out << fmt::format(", ETA {}", duration_words(status.live->eta_seconds));
  if (age > kStaleSeconds) out << fmt::format(" (as of {} ago)", duration_words(age));
  out << "\n\nworkers\n";
  for (const LiveWorker& worker : status.live->workers) print_worker(out, worker, now);
  std::vector<std::string> left_out;
  for (const auto& [what, why] : status.live->left_out) left_out.push_back(what + ": " + why);
  print_list(out, "left out", left_out);
}

/// Those that wait by their reason, most first.
std::vector<std::string> waiting_by_reason(const StoreStatus& status) {
  std::map<std::string, std::vector<std::string>> by_reason;
  for (const auto& [id, reason] : status.waiting) by_reason[reason].push_back(id);
  std::vector<std::pair<int64_t, std::string>> sorted;
  for (const auto& [reason, ids] : by_reason) {
    sorted.emplace_back(
        -static_cast<int64_t>(ids.size()),
        fmt::format("{} × {} ({}{})", ids.size(), reason, ids[0], ids.size() > 1 ? ", …" : ""));
  }
  std::sort(sorted.begin(), sorted.end());
  std::vector<std::string> lines;
  for (const auto& [negative, line] : sorted) lines.push_back(line);
  return lines;
}

}  // namespace

std::optional<LiveView> read_live(const std::filesystem::path& store_directory) {
  std::ifstream file(store_directory / "live.json");
  if (!file) return std::nullopt;
  try {
    return live_from(nlohmann::json::parse(file));
  } catch (const nlohmann::json::exception&) {
    return std::nullopt;
  }
}

StoreStatus make_status(const StoreContents& contents,
                        const std::filesystem::path& store_directory) {
  StoreStatus status;
  for (const CellRecord& record : contents.cells) ++status.cells[record.status];
  for (const FineTuneRecord& record : contents.fine_tunes) ++status.fine_tunes[record.status];
  for (const AttemptRecord& record : contents.attempts) ++status.attempts[record.status];
  status.failures = count_failures(contents);
  status.holder = lock_holder(store_directory);
  if (status.holder) status.live = read_live(store_directory);
  status.waiting = why_cells_wait(contents, status.live);
  const auto left_out = contents.provenance.text.find("left_out");
  if (left_out != contents.provenance.text.end() && !status.holder) {
    status.left_out = left_out->second;
  }
  return status;
}

void print_status(std::ostream& out, const StoreStatus& status, double now) {
  out << fmt::format("cells       {:>7}  {}\n", total(status.cells), counts_text(status.cells));
  out << fmt::format("fine-tunes  {:>7}  {}\n", total(status.fine_tunes),
                     counts_text(status.fine_tunes));
  out << fmt::format("attempts    {:>7}  {}\n", total(status.attempts),
                     counts_text(status.attempts));
  print_run(out, status, now);
  if (!status.left_out.empty()) out << "the last run left out: " << status.left_out << '\n';
  print_list(out, "waiting", waiting_by_reason(status));
  print_list(out, "failures", status.failures);
}

std::string duration_words(double seconds) {
  if (std::isnan(seconds)) return "?";
  const auto whole = static_cast<int64_t>(std::max(0.0, std::ceil(seconds)));
  if (whole < 60) return fmt::format("{} s", whole);
  if (whole < 3600) return fmt::format("{} min", whole / 60);
  if (whole < 86400) return fmt::format("{} h {:02} min", whole / 3600, whole % 3600 / 60);
  return fmt::format("{} d {} h", whole / 86400, whole % 86400 / 3600);
}

}  // namespace ropesweep
