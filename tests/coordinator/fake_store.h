// A store in memory for the coordinator's tests: what was recorded, in order, what is durable, and
// a disk that can be full.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "experiments/error.h"
#include "storage/store.h"

namespace ropesweep {

class FakeStore : public Store {
 public:
  struct Ended {
    AttemptRecord attempt;
    Outcome outcome;
    bool final_failure = false;
    bool durable = false;
  };

  const StoreContents& contents() const override { return contents_; }
  const std::filesystem::path& directory() const override { return directory_; }

  void plan(const PackedVector<Cell>& cells, const std::vector<FineTune>& fine_tunes) override {
    for (const Cell& cell : cells) {
      CellRecord record;
      record.cell = cell;
      contents_.cells.push_back(record);
    }
    for (const FineTune& fine_tune : fine_tunes) {
      contents_.fine_tunes.push_back({});
      contents_.fine_tunes.back().fine_tune = fine_tune;
    }
  }
  void provenance(const std::string& key, const std::string& value) override {
    contents_.provenance.text[key] = value;
  }
  void attempt_started(const AttemptRecord& attempt) override { started.push_back(attempt); }

  void losses(const FineTuneOutcome& so_far) override { told.push_back(so_far); }

  void attempt_ended(const AttemptRecord& attempt, const std::vector<std::string>& cells,
                     const Outcome& outcome, bool final_failure) override {
    ended.push_back({attempt, outcome, final_failure, false});
    const std::string status = outcome.failure_kind == FailureKind::none       ? "finished"
                               : outcome.failure_kind == FailureKind::diverged ? "diverged"
                               : final_failure                                 ? "failed"
                                                                               : "pending";
    for (const std::string& cell : cells) {
      set_status(cell, status, outcome.failure);
    }
    if (attempt.kind == "fine_tune") {
      set_status(attempt.task, status, outcome.failure);
    }
  }
  void skipped(const std::string& id, const std::string& reason) override {
    set_status(id, "skipped", reason);
  }
  void rerun(const std::vector<std::string>& ids) override {
    for (const std::string& id : ids) {
      set_status(id, "pending", "");
    }
  }
  void sync() override {
    if (disk_full) {
      throw_transient_error("fake: no space left on device");
    }
    ++syncs;
    for (Ended& entry : ended) {
      entry.durable = true;
    }
  }
  void publish() override {}
  void publish_if_due() override {}

  std::string status(const std::string& id) const {
    for (const CellRecord& record : contents_.cells) {
      if (record.cell.id == id) {
        return record.status;
      }
    }
    for (const FineTuneRecord& record : contents_.fine_tunes) {
      if (record.fine_tune.id == id) {
        return record.status;
      }
    }
    return "";
  }
  std::string failure(const std::string& id) const {
    for (const CellRecord& record : contents_.cells) {
      if (record.cell.id == id) {
        return record.failure;
      }
    }
    return "";
  }

  void set_status(const std::string& id, const std::string& status,
                  const std::string& failure = "") {
    for (size_t i = 0; i < contents_.cells.size(); ++i) {
      CellRecord record = contents_.cells[i];
      if (record.cell.id == id) {
        record.status = status;
        record.failure = failure;
        contents_.cells.set(i, record);
      }
    }
    for (FineTuneRecord& record : contents_.fine_tunes) {
      if (record.fine_tune.id == id) {
        record.status = status;
        record.failure = failure;
      }
    }
  }

  StoreContents contents_;
  std::vector<AttemptRecord> started;
  std::vector<FineTuneOutcome> told;
  std::vector<Ended> ended;
  bool disk_full = false;
  int syncs = 0;

 private:
  std::filesystem::path directory_ = "/nonexistent";
};

}  // namespace ropesweep
