// The run's words first, then the store's.
#include "analysis/waiting.h"

#include <spdlog/fmt/fmt.h>

#include <nlohmann/json.hpp>
#include <unordered_map>

#include "experiments/error.h"

namespace ropesweep {
namespace {

using Statuses = std::unordered_map<std::string, std::string>;

/// What stands before it in the store; "" when nothing does.
std::string unmet(const std::string& fine_tune, const Statuses& statuses) {
  const auto found = statuses.find(fine_tune);
  if (fine_tune.empty() || found == statuses.end() || found->second == "finished") return "";
  return fmt::format("waits for fine-tune {}, which is {}", fine_tune, found->second);
}

std::string death_of(const AttemptRecord& attempt) {
  return fmt::format("{} ({}: {})", attempt.host, to_string(attempt.failure_kind), attempt.failure);
}

/// Where and of what the last attempt of each task died, by what it was to compute.
std::unordered_map<std::string, std::string> last_deaths(const StoreContents& contents) {
  std::unordered_map<std::string, std::string> deaths;
  for (const AttemptRecord& attempt : contents.attempts) {
    const bool died = attempt.status == "failed" || attempt.status == "lost";
    const auto keep = [&](const std::string& id) {
      deaths.erase(id);
      if (died) deaths.emplace(id, death_of(attempt));
    };
    if (attempt.kind == "fine_tune") keep(attempt.task);
    for (const std::string& cell : attempt.cells) keep(cell);
  }
  return deaths;
}

}  // namespace

std::map<std::string, std::string> why_cells_wait(const StoreContents& contents,
                                                  const std::optional<LiveView>& live) {
  std::map<std::string, std::string> reasons;
  if (live) {
    for (const LiveView::Waiting& waiting : live->waiting) {
      if (waiting.cells.empty()) reasons[waiting.task] = waiting.reason;
      for (const std::string& cell : waiting.cells) reasons[cell] = waiting.reason;
    }
  }
  Statuses statuses;
  for (const FineTuneRecord& record : contents.fine_tunes) {
    statuses[record.fine_tune.id] = record.status;
  }
  const auto deaths = last_deaths(contents);
  const std::string otherwise = live ? "waits for a worker" : "no run is going on";
  const auto add = [&](const std::string& id, const std::string& fine_tune) {
    std::string reason = unmet(fine_tune, statuses);
    if (const auto death = deaths.find(id); reason.empty() && death != deaths.end()) {
      reason = fmt::format("{}; its last attempt died on {}", otherwise, death->second);
    }
    reasons.emplace(id, reason.empty() ? otherwise : reason);
  };
  for (const CellRecord& record : contents.cells) {
    if (record.status == "pending") add(record.cell.id, record.cell.fine_tune);
  }
  for (const FineTuneRecord& record : contents.fine_tunes) {
    if (record.status == "pending") add(record.fine_tune.id, record.fine_tune.parent);
  }
  // What began since live.json was written no longer waits.
  for (const CellRecord& record : contents.cells) {
    if (record.status != "pending") reasons.erase(record.cell.id);
  }
  for (const FineTuneRecord& record : contents.fine_tunes) {
    if (record.status != "pending") reasons.erase(record.fine_tune.id);
  }
  return reasons;
}

void print_status_json(std::ostream& out, const StoreStatus& status) {
  nlohmann::json json{{"cells", status.cells},
                      {"fine_tunes", status.fine_tunes},
                      {"attempts", status.attempts},
                      {"failures", status.failures},
                      {"running", status.holder.has_value()},
                      {"workers", nlohmann::json::array()},
                      {"waiting", nlohmann::json::array()},
                      {"left_out", nlohmann::json::array()}};
  for (const auto& [id, reason] : status.waiting) {
    json["waiting"].push_back({{"id", id}, {"reason", reason}});
  }
  if (!status.left_out.empty()) json["left_out_by_last_run"] = status.left_out;
  if (status.live) {
    json["eta_seconds"] = status.live->eta_seconds;
    json["updated_at"] = status.live->updated_at;
    for (const LiveWorker& worker : status.live->workers) {
      json["workers"].push_back({{"rank", worker.rank},
                                 {"host", worker.host},
                                 {"device", worker.device},
                                 {"task", worker.task},
                                 {"what", worker.what},
                                 {"fraction", worker.fraction},
                                 {"since", worker.since}});
    }
    for (const auto& [what, why] : status.live->left_out) {
      json["left_out"].push_back({{"what", what}, {"why", why}});
    }
  }
  out << json.dump(1) << '\n';
}

}  // namespace ropesweep
