// Attempts' ends. What an attempt brings becomes final here, and only here.
#include <utility>

#include "storage/plain_names.h"
#include "storage/state.h"

namespace ropesweep {
namespace {

/// An allocation's end, a stop that was asked for, or an answer that came too late costs no
/// attempt.
bool counts(const AttemptRecord& attempt, const Outcome& outcome) {
  return attempt.status != "stopped" && attempt.status != "stale" &&
         outcome.failure_kind != FailureKind::time;
}

/// What an attempt's end is called when its caller left that open.
std::string ending(FailureKind kind) {
  if (kind == FailureKind::none) return "finished";
  if (kind == FailureKind::diverged) return "diverged";
  return kind == FailureKind::time ? "stopped" : "failed";
}

}  // namespace

void StoreState::attempt_ended(const nlohmann::json& event) {
  AttemptRecord attempt = event.at("attempt").get<AttemptRecord>();
  const Outcome outcome = event.at("outcome").get<Outcome>();
  std::vector<std::string> ids = event.at("cells").get<std::vector<std::string>>();
  if (fine_tunes_.contains(attempt.task)) ids.push_back(attempt.task);
  if (attempt.cells.empty()) attempt.cells = ids;
  if (attempt.status.empty() || attempt.status == "running") {
    attempt.status = ending(outcome.failure_kind);
  }
  if (attempt.failure_kind == FailureKind::none) {
    attempt.failure_kind = outcome.failure_kind;
    attempt.failure = outcome.failure;
  }
  set_attempt(attempt);
  if (keep_unplanned_) add_unplanned(outcome);
  if (counts(attempt, outcome)) {
    for (const std::string& id : ids) {
      change_cell(id, [](CellRecord& record) { ++record.attempts; });
    }
    if (FineTuneRecord* record = mutable_fine_tune(attempt.task)) ++record->attempts;
  }
  if (outcome.failure_kind == FailureKind::none) {
    accept(attempt, outcome);
  } else if (outcome.failure_kind == FailureKind::diverged) {
    diverged(attempt, ids, outcome);
  } else {
    reject(attempt, ids, outcome, event.at("final").get<bool>());
  }
}

void StoreState::accept(const AttemptRecord& attempt, const Outcome& outcome) {
  for (const CellOutcome& result : outcome.cells) {
    change_cell(result.cell, [&](CellRecord& record) {
      set_ending(record, outcome, "finished");
      record.outcome = result;
      record.device = outcome.device;
      record.type = outcome.type;
      record.finished_at = attempt.started_at + attempt.seconds;
    });
  }
  for (const FineTuneOutcome& result : outcome.fine_tunes) {
    FineTuneRecord* record = mutable_fine_tune(result.fine_tune);
    if (record == nullptr) continue;
    set_ending(*record, outcome, "finished");
    record->outcome = result;
    record->device = outcome.device;
    record->type = outcome.type;
    record->seconds = outcome.seconds;
    check_names(*record);
  }
}

void StoreState::diverged(const AttemptRecord& attempt, const std::vector<std::string>& ids,
                          const Outcome& outcome) {
  accept(attempt, outcome);  // the curve up to there, figures if there are any
  for (const std::string& id : ids) {
    change_cell(id, [&](CellRecord& record) {
      set_ending(record, outcome, "diverged");
      record.device = outcome.device;
      record.type = outcome.type;
      record.finished_at = attempt.started_at + attempt.seconds;
    });
    if (FineTuneRecord* record = mutable_fine_tune(id)) set_ending(*record, outcome, "diverged");
  }
}

void StoreState::reject(const AttemptRecord& attempt, const std::vector<std::string>& ids,
                        const Outcome& outcome, bool final_failure) {
  const char* status = final_failure ? "failed" : "pending";
  for (const std::string& id : ids) {
    // A late failure does not undo what another attempt has finished.
    change_cell(id, [&](CellRecord& record) {
      if (record.status != "running" && record.status != "pending") return;
      set_ending(record, outcome, status);
      if (final_failure) record.finished_at = attempt.started_at + attempt.seconds;
    });
    FineTuneRecord* record = mutable_fine_tune(id);
    if (record != nullptr && (record->status == "running" || record->status == "pending")) {
      set_ending(*record, outcome, status);
    }
  }
}

void StoreState::add_unplanned(const Outcome& outcome) {
  for (const CellOutcome& result : outcome.cells) {
    CellRecord record;
    record.cell.id = result.cell;
    add_cell(record);
  }
  for (const FineTuneOutcome& result : outcome.fine_tunes) {
    FineTuneRecord record;
    record.fine_tune.id = result.fine_tune;
    add_fine_tune(std::move(record));
  }
}

}  // namespace ropesweep
