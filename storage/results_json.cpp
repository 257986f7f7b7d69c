// JSON of a store's records, for the journal.
#include "experiments/json_fields.h"
#include "storage/results.h"

namespace ropesweep {
namespace {

template <typename Struct, typename Visitor>
void cell_fields(Struct& record, const Visitor& field) {
  field("cell", record.cell);
  field("status", record.status);
  field("failure", record.failure);
  field("attempts", record.attempts);
  field("outcome", record.outcome);
  field("device", record.device);
  field("type", record.type);
  field("finished_at", record.finished_at);
}

template <typename Struct, typename Visitor>
void fine_tune_fields(Struct& record, const Visitor& field) {
  field("fine_tune", record.fine_tune);
  field("status", record.status);
  field("failure", record.failure);
  field("attempts", record.attempts);
  field("seconds", record.seconds);
  field("outcome", record.outcome);
  field("device", record.device);
  field("type", record.type);
}

template <typename Struct, typename Visitor>
void attempt_fields(Struct& record, const Visitor& field) {
  field("task", record.task);
  field("kind", record.kind);
  field("number", record.number);
  field("worker", record.worker);
  field("host", record.host);
  field("device", record.device);
  field("status", record.status);
  field("failure", record.failure);
  field("started_at", record.started_at);
  field("seconds", record.seconds);
  field("cells", record.cells);
}

/// They are counted on from here.
void check_attempts(int64_t attempts) {
  constexpr int64_t most = 1'000'000'000;
  if (attempts < 0 || attempts > most) {
    throw_transient_error("JSON field \"attempts\": {} is no number of attempts", attempts);
  }
}

FailureKind kind_in(const nlohmann::json& json) {
  return failure_kind_from(json.value("failure_kind", "none"));
}

}  // namespace

void to_json(nlohmann::json& json, const CellRecord& record) {
  cell_fields(record, JsonWriter(json));
  json["failure_kind"] = to_string(record.failure_kind);
}
void from_json(const nlohmann::json& json, CellRecord& record) {
  cell_fields(record, JsonReader(json));
  check_attempts(record.attempts);
  record.failure_kind = kind_in(json);
}

void to_json(nlohmann::json& json, const FineTuneRecord& record) {
  fine_tune_fields(record, JsonWriter(json));
  json["failure_kind"] = to_string(record.failure_kind);
}
void from_json(const nlohmann::json& json, FineTuneRecord& record) {
  fine_tune_fields(record, JsonReader(json));
  check_attempts(record.attempts);
  record.failure_kind = kind_in(json);
}

void to_json(nlohmann::json& json, const AttemptRecord& record) {
  attempt_fields(record, JsonWriter(json));
  json["failure_kind"] = to_string(record.failure_kind);
}
void from_json(const nlohmann::json& json, AttemptRecord& record) {
  attempt_fields(record, JsonReader(json));
  record.failure_kind = kind_in(json);
}

}  // namespace ropesweep
