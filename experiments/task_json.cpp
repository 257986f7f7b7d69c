// JSON of a task: everything a runner needs travels in it.
#include "experiments/json_fields.h"
#include "experiments/task.h"

namespace ropesweep {
namespace {

constexpr const char* fine_tune_kind = "fine_tune";
constexpr const char* evaluation_kind = "evaluation";

template <typename Struct, typename Visitor>
void task_fields(Struct& task, const Visitor& field) {
  field("id", task.id);
  field("model", task.model);
  field("weights", task.weights);
  field("weights_key", task.weights_key);
  field("needs", task.needs);
  field("scheme", task.scheme);
  field("scale", task.scale);
  field("cells", task.cells);
  // What the other kind is made of would be most of a message.
  if (task.kind == TaskKind::evaluation) {
    field("dataset", task.dataset);
  } else {
    field("fine_tune", task.fine_tune);
    field("training_data", task.training_data);
    field("validation_data", task.validation_data);
    field("sibling_medians", task.sibling_medians);
    field("seconds_between_failures", task.seconds_between_failures);
  }
  field("output", task.output);
  field("workers", task.workers);
  field("seed", task.seed);
  field("flops", task.flops);
  field("memory_bytes", task.memory_bytes);
}

template <typename Struct, typename Visitor>
void place_fields(Struct& place, const Visitor& field) {
  field("name", place.name);
  field("rank", place.rank);
  field("size", place.size);
  field("directory", place.directory);
}

}  // namespace

void to_json(nlohmann::json& json, const GroupPlace& place) {
  place_fields(place, JsonWriter(json));
}

void from_json(const nlohmann::json& json, GroupPlace& place) {
  place_fields(place, JsonReader(json));
}

void to_json(nlohmann::json& json, const Task& task) {
  task_fields(task, JsonWriter(json));
  json["kind"] = task.kind == TaskKind::fine_tune ? fine_tune_kind : evaluation_kind;
}

void from_json(const nlohmann::json& json, Task& task) {
  std::string kind = evaluation_kind;
  const JsonReader read(json);
  read("kind", kind);
  if (kind != fine_tune_kind && kind != evaluation_kind) {
    throw_transient_error("JSON field \"kind\": unknown task kind \"{}\"", kind);
  }
  task.kind = kind == fine_tune_kind ? TaskKind::fine_tune : TaskKind::evaluation;
  task_fields(task, read);
}

}  // namespace ropesweep
