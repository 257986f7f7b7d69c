// Applying events; attempts' ends are in state_outcomes.cpp.
#include "storage/state.h"

#include <algorithm>
#include <utility>

#include "experiments/error.h"
#include "experiments/losses.h"
#include "storage/plain_names.h"

namespace ropesweep {
namespace {

std::string attempt_key(const std::string& task, int64_t number) {
  return task + " " + std::to_string(number);
}

template <typename Record>
void reset(Record& record) {
  record.status = "pending";
  record.failure_kind = FailureKind::none;
  record.failure.clear();
  record.outcome = {};
  record.device.clear();
  record.type.clear();
}

}  // namespace

StoreState::StoreState(StoreContents contents) {
  contents_.provenance = std::move(contents.provenance);
  for (const CellRecord& record : contents.cells) add_cell(record);
  for (FineTuneRecord& record : contents.fine_tunes) add_fine_tune(std::move(record));
  for (const AttemptRecord& record : contents.attempts) set_attempt(record);
}

std::optional<size_t> StoreState::row_of_cell(const std::string& id) const {
  return cells_.find(id, [&](size_t row) { return contents_.cells[row].cell.id == id; });
}

std::optional<CellRecord> StoreState::cell(const std::string& id) const {
  const auto row = row_of_cell(id);
  return row ? std::optional<CellRecord>(contents_.cells[*row]) : std::nullopt;
}

const FineTuneRecord* StoreState::fine_tune(const std::string& id) const {
  const auto found = fine_tunes_.find(id);
  return found == fine_tunes_.end() ? nullptr : &contents_.fine_tunes[found->second];
}

FineTuneRecord* StoreState::mutable_fine_tune(const std::string& id) {
  const auto found = fine_tunes_.find(id);
  return found == fine_tunes_.end() ? nullptr : &contents_.fine_tunes[found->second];
}

bool StoreState::has_running() const {
  const auto is_running = [](const auto& record) { return record.status == "running"; };
  return std::any_of(contents_.attempts.begin(), contents_.attempts.end(), is_running) ||
         std::any_of(contents_.cells.begin(), contents_.cells.end(), is_running) ||
         std::any_of(contents_.fine_tunes.begin(), contents_.fine_tunes.end(), is_running);
}

void StoreState::set_attempt(const AttemptRecord& attempt) {
  const std::string key = attempt_key(attempt.task, attempt.number);
  const auto known = attempts_.find(key, [&](size_t row) {
    const AttemptRecord record = contents_.attempts[row];
    return record.task == attempt.task && record.number == attempt.number;
  });
  if (known) return contents_.attempts.set(*known, attempt);
  attempts_.add(key, contents_.attempts.size());
  contents_.attempts.push_back(attempt);
}

void StoreState::add_cell(const CellRecord& record) {
  check_names(record);
  if (row_of_cell(record.cell.id)) return;
  cells_.add(record.cell.id, contents_.cells.size());
  contents_.cells.push_back(record);
}

void StoreState::add_fine_tune(FineTuneRecord record) {
  check_names(record);
  if (fine_tunes_.try_emplace(record.fine_tune.id, contents_.fine_tunes.size()).second) {
    contents_.fine_tunes.push_back(std::move(record));
  }
}

void StoreState::apply(const nlohmann::json& event) {
  try {
    const auto& name = event.at("event").get_ref<const std::string&>();
    if (name == "planned") return planned(event);
    if (name == "provenance") {
      contents_.provenance.text[event.at("key")] = event.at("value").get<std::string>();
      return;
    }
    if (name == "attempt_started") return attempt_started(event);
    if (name == "losses") return losses(event);
    if (name == "attempt_ended") return attempt_ended(event);
    if (name == "skipped") return skipped(event);
    if (name == "rerun") return rerun(event);
    if (name == "interrupted") return interrupted(event);
    if (name == "imported") return imported(event);
    throw_transient_error("the journal holds an event of the unknown kind \"{}\"", name);
  } catch (const nlohmann::json::exception& error) {
    throw_transient_error("the journal holds a malformed event: {}", error.what());
  }
}

void StoreState::planned(const nlohmann::json& event) {
  for (const nlohmann::json& json : event.at("cells")) {
    CellRecord record;
    json.get_to(record.cell);
    if (const auto row = row_of_cell(record.cell.id)) {  // an imported one lacks its canonical text
      contents_.cells.change(*row, [&](CellRecord& known) { known.cell = std::move(record.cell); });
    } else {
      add_cell(record);
    }
  }
  for (const nlohmann::json& json : event.at("fine_tunes")) {
    FineTuneRecord record;
    json.get_to(record.fine_tune);
    // Known already: who shares it may have grown, and an imported one lacks its settings.
    if (FineTuneRecord* known = mutable_fine_tune(record.fine_tune.id)) {
      known->fine_tune = std::move(record.fine_tune);
    } else {
      add_fine_tune(std::move(record));
    }
  }
}

void StoreState::imported(const nlohmann::json& event) {
  for (const nlohmann::json& json : event.at("cells")) {
    const auto record = json.get<CellRecord>();
    if (const auto row = row_of_cell(record.cell.id)) {
      contents_.cells.set(*row, record);
    } else {
      add_cell(record);
    }
  }
  for (const nlohmann::json& json : event.at("fine_tunes")) {
    FineTuneRecord record = json.get<FineTuneRecord>();
    if (FineTuneRecord* known = mutable_fine_tune(record.fine_tune.id)) {
      *known = std::move(record);
    } else {
      add_fine_tune(std::move(record));
    }
  }
  for (const nlohmann::json& json : event.at("attempts")) {
    set_attempt(json.get<AttemptRecord>());
  }
  for (const auto& [key, value] : event.at("provenance").items()) {
    contents_.provenance.text[key] = value.get<std::string>();
  }
}

void StoreState::attempt_started(const nlohmann::json& event) {
  auto attempt = event.at("attempt").get<AttemptRecord>();
  attempt.status = "running";
  set_attempt(attempt);
  if (FineTuneRecord* record = mutable_fine_tune(attempt.task)) record->status = "running";
  for (const std::string& id : attempt.cells) {
    change_cell(id, [](CellRecord& record) { record.status = "running"; });
  }
}

void StoreState::losses(const nlohmann::json& event) {
  FineTuneOutcome so_far = event.at("so_far").get<FineTuneOutcome>();
  FineTuneRecord* record = mutable_fine_tune(so_far.fine_tune);
  if (record == nullptr || record->status != "running") return;
  extend(record->outcome.curve, so_far.curve);
  so_far.curve = std::move(record->outcome.curve);
  record->outcome = std::move(so_far);
}

void StoreState::skipped(const nlohmann::json& event) {
  Outcome outcome;
  outcome.failure_kind = FailureKind::user;
  outcome.failure = event.at("reason").get<std::string>();
  const std::string id = event.at("id").get<std::string>();
  change_cell(id, [&](CellRecord& record) { set_ending(record, outcome, "skipped"); });
  if (FineTuneRecord* record = mutable_fine_tune(id)) set_ending(*record, outcome, "skipped");
}

void StoreState::rerun(const nlohmann::json& event) {
  for (const nlohmann::json& json : event.at("ids")) {
    const std::string id = json.get<std::string>();
    change_cell(id, [](CellRecord& record) {
      reset(record);
      record.finished_at = 0;
    });
    if (FineTuneRecord* record = mutable_fine_tune(id)) {
      reset(*record);
      record->seconds = 0;
    }
  }
}

void StoreState::interrupted(const nlohmann::json& event) {
  for (size_t row = 0; row < contents_.attempts.size(); ++row) {
    AttemptRecord attempt = contents_.attempts[row];
    if (attempt.status != "running") continue;
    attempt.status = "lost";
    attempt.failure_kind = FailureKind::transient;
    attempt.failure = event.at("reason").get<std::string>();
    contents_.attempts.set(row, attempt);
  }
  for (size_t row = 0; row < contents_.cells.size(); ++row) {
    CellRecord record = contents_.cells[row];
    if (record.status != "running") continue;
    record.status = "pending";
    contents_.cells.set(row, record);
  }
  for (FineTuneRecord& record : contents_.fine_tunes) {
    if (record.status == "running") record.status = "pending";
  }
}

}  // namespace ropesweep
