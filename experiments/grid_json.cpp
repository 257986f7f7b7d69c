// JSON of cells and fine-tunes, for tasks, messages and the journal; and the hash behind their ids.
#include "experiments/grid.h"
#include "experiments/json_fields.h"
#include "experiments/sha256.h"

namespace ropesweep {
namespace {

template <typename Struct, typename Visitor>
void fine_tune_fields(Struct& fine_tune, const Visitor& field) {
  field("id", fine_tune.id);
  field("parent", fine_tune.parent);
  field("model", fine_tune.model);
  field("scheme", fine_tune.scheme);
  field("train_scale", fine_tune.train_scale);
  field("seed", fine_tune.seed);
  field("recipe", fine_tune.recipe);
  field("compared_with", fine_tune.compared_with);
  field("shared_by", fine_tune.shared_by);
  field("canonical", fine_tune.canonical);
}

template <typename Struct, typename Visitor>
void cell_fields(Struct& cell, const Visitor& field) {
  field("id", cell.id);
  field("model", cell.model);
  field("recipe", cell.recipe);
  field("scheme", cell.scheme);
  field("dataset", cell.dataset);
  field("train_scale", cell.train_scale);
  field("eval_scale", cell.eval_scale);
  field("context_length", cell.context_length);
  field("seed", cell.seed);
  field("fine_tune", cell.fine_tune);
  field("canonical", cell.canonical);
}

}  // namespace

void to_json(nlohmann::json& json, const FineTune& fine_tune) {
  fine_tune_fields(fine_tune, JsonWriter(json));
}
void from_json(const nlohmann::json& json, FineTune& fine_tune) {
  fine_tune_fields(fine_tune, JsonReader(json));
}

void to_json(nlohmann::json& json, const Cell& cell) { cell_fields(cell, JsonWriter(json)); }
void from_json(const nlohmann::json& json, Cell& cell) { cell_fields(cell, JsonReader(json)); }

std::string sha256_hex(std::string_view bytes) {
  Sha256 sha;
  sha.add(bytes.data(), bytes.size());
  return sha.hex();
}

}  // namespace ropesweep
