// The view of a store that everyone else uses: what is finished, rows of each table, curves. The
// only floor that knows HDF5 and the journal.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "experiments/grid.h"
#include "experiments/outcome.h"

namespace ropesweep {

/// A row of /cells without its figures: one cell. Its rows (one a metric) come from `outcome`.
struct CellRecord {
  Cell cell;
  std::string status = "pending";  ///< pending running finished diverged failed skipped
  FailureKind failure_kind = FailureKind::none;
  std::string failure;
  int64_t attempts = 0;
  CellOutcome outcome;
  std::string device, type;
  double finished_at = 0;  ///< seconds since 1970, 0: not finished
};

/// Whether a cell or fine-tune of this status has come to its end.
inline bool is_settled(const std::string& status) {
  return status == "finished" || status == "diverged" || status == "failed" || status == "skipped";
}

struct FineTuneRecord {
  FineTune fine_tune;
  std::string status = "pending";
  FailureKind failure_kind = FailureKind::none;
  std::string failure;
  int64_t attempts = 0;
  double seconds = 0;
  FineTuneOutcome outcome;
  std::string device, type;
};

struct AttemptRecord {
  std::string task;
  std::string kind;  ///< fine_tune | evaluation
  int64_t number = 0;
  int64_t worker = 0;
  std::string host, device;
  std::string status;  ///< running finished diverged failed lost stopped stale
  FailureKind failure_kind = FailureKind::none;
  std::string failure;
  double started_at = 0;
  double seconds = 0;
  std::vector<std::string>
      cells;  ///< ids that an evaluation computes (no column): shown as running
};

struct Provenance {
  std::map<std::string, std::string>
      text;  ///< sweep, program_version, model_digest, host, started_at, …
};

/// All that a store holds, in memory, in the order in which things were planned.
struct StoreContents {
  PackedVector<CellRecord> cells;
  std::vector<FineTuneRecord> fine_tunes;
  PackedVector<AttemptRecord> attempts;
  Provenance provenance;
};

// JSON with every field by its name, as the journal holds them.
void to_json(nlohmann::json& json, const CellRecord& record);
void from_json(const nlohmann::json& json, CellRecord& record);
void to_json(nlohmann::json& json, const FineTuneRecord& record);
void from_json(const nlohmann::json& json, FineTuneRecord& record);
void to_json(nlohmann::json& json, const AttemptRecord& record);
void from_json(const nlohmann::json& json, AttemptRecord& record);

void pack(Packer& out, const CellRecord& record);
void unpack(Unpacker& in, CellRecord& record);
void pack(Packer& out, const AttemptRecord& record);
void unpack(Unpacker& in, AttemptRecord& record);

}  // namespace ropesweep
