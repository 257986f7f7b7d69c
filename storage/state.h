// What the journal's records mean: each is an event, and a store's contents are what the events add
// up to. The writer and every reader apply them with this one function.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "storage/migrations.h"
#include "storage/results.h"
#include "storage/row_index.h"

namespace ropesweep {

/// A record's bytes: CBOR of [version, event]. An event is an object whose "event" names it.
std::vector<uint8_t> encode_event(const nlohmann::json& event);
/// Errors: user error when the record is of a newer version than `upgrades` lead to; transient when
/// it is malformed. `source` names the file in messages.
nlohmann::json decode_event(std::span<const uint8_t> record, const std::string& source);
nlohmann::json decode_event(std::span<const uint8_t> record, const std::string& source,
                            std::span<const EventUpgrade> upgrades);
/// The version that a record carries, without reading further; 0 when it is none of ours.
int event_version(std::span<const uint8_t> record);

/// How a cell or a fine-tune ended: its status, and the failure's kind and text.
template <typename Record>
void set_ending(Record& record, const Outcome& outcome, const char* status) {
  record.status = status;
  record.failure_kind = outcome.failure_kind;
  record.failure = outcome.failure;
}

/// Contents with indices by id.
class StoreState {
 public:
  StoreState() = default;
  explicit StoreState(StoreContents contents);

  const StoreContents& contents() const { return contents_; }
  StoreContents release() && { return std::move(contents_); }

  /// For what is left of a damaged journal: results of cells and fine-tunes that no event planned
  /// are kept, under their ids alone; a later plan names them.
  void keep_unplanned_results() { keep_unplanned_ = true; }

  /// Nothing when unknown.
  std::optional<CellRecord> cell(const std::string& id) const;
  const FineTuneRecord* fine_tune(const std::string& id) const;
  /// True when some attempt has not ended.
  bool has_running() const;

  /// Deterministic, and tolerant of ids that it does not know. Errors: transient for a malformed
  /// event.
  void apply(const nlohmann::json& event);

 private:
  void add_cell(const CellRecord& record);
  void add_fine_tune(FineTuneRecord record);
  void planned(const nlohmann::json& event);
  void imported(const nlohmann::json& event);
  void attempt_started(const nlohmann::json& event);
  void losses(const nlohmann::json& event);
  void attempt_ended(const nlohmann::json& event);
  void add_unplanned(const Outcome& outcome);
  void accept(const AttemptRecord& attempt, const Outcome& outcome);
  void reject(const AttemptRecord& attempt, const std::vector<std::string>& ids,
              const Outcome& outcome, bool final_failure);
  void diverged(const AttemptRecord& attempt, const std::vector<std::string>& ids,
                const Outcome& outcome);
  void skipped(const nlohmann::json& event);
  void rerun(const nlohmann::json& event);
  void interrupted(const nlohmann::json& event);
  void set_attempt(const AttemptRecord& attempt);
  std::optional<size_t> row_of_cell(const std::string& id) const;
  /// `change(CellRecord&)` when there is such a cell.
  template <typename Change>
  void change_cell(const std::string& id, const Change& change) {
    if (const auto row = row_of_cell(id)) contents_.cells.change(*row, change);
  }
  FineTuneRecord* mutable_fine_tune(const std::string& id);

  StoreContents contents_;
  bool keep_unplanned_ = false;
  std::unordered_map<std::string, size_t> fine_tunes_;
  RowIndex cells_, attempts_;  ///< by id; by "TASK NUMBER"
};

}  // namespace ropesweep
