// The columns, as docs/store.md lists them.
#include "storage/schema.h"

#include <map>

#include "experiments/error.h"
#include "experiments/nearest_name.h"

namespace ropesweep {
namespace {

using enum ColumnType;

using Columns = std::vector<ColumnSpec>;

const std::map<std::string, Columns>& schema() {
  static const std::map<std::string, Columns> tables = {
      {"cells",
       {{"id", text},
        {"model", text},
        {"recipe", text},
        {"scheme", text},
        {"train_scale", real},
        {"eval_scale", real},
        {"context_length", integer},
        {"dataset", text},
        {"seed", integer},
        {"metric", text},
        {"value", real},
        {"standard_error", real},
        {"count", integer},
        {"sum_nll", real},
        {"tokens", integer},
        {"hits", integer},
        {"status", text},
        {"failure_kind", text},
        {"failure", text},
        {"attempts", integer},
        {"seconds", real},
        {"fine_tune", text},
        {"device", text},
        {"type", text},
        {"finished_at", real}}},
      {"fine_tunes",
       {{"id", text},
        {"parent", text},
        {"model", text},
        {"recipe", text},
        {"scheme", text},
        {"train_scale", real},
        {"seed", integer},
        {"status", text},
        {"failure_kind", text},
        {"failure", text},
        {"steps", integer},
        {"tokens", integer},
        {"training_loss", real},
        {"validation_loss", real},
        {"attempts", integer},
        {"seconds", real},
        {"device", text},
        {"type", text}}},
      {"attempts",
       {{"task", text},
        {"kind", text},
        {"number", integer},
        {"worker", integer},
        {"host", text},
        {"device", text},
        {"status", text},
        {"failure_kind", text},
        {"failure", text},
        {"started_at", real},
        {"seconds", real}}},
      {"curves",
       {{"fine_tune", text},
        {"step", integer},
        {"training_loss", real},
        {"validation_loss", real},
        {"learning_rate", real},
        {"gradient_norm", real}}},
      {"samples",
       {{"cell", text},
        {"index", integer},
        {"text", text},
        {"reference", text},
        {"hit", integer},
        {"location", text},
        {"second_hit", integer, true},
        {"tokens", integer, true},
        {"nll", real, true},
        {"windows", integer, true},
        {"window_nll", real, true},
        {"share", real, true}}},
  };
  return tables;
}

}  // namespace

const std::vector<std::string>& table_names() {
  static const std::vector<std::string> names = {"cells", "fine_tunes", "attempts", "curves",
                                                 "samples"};
  return names;
}

const Columns& table_columns(const std::string& table) {
  const auto found = schema().find(table);
  if (found != schema().end()) return found->second;
  const std::string nearest = nearest_name(table, table_names());
  throw_user_error("no table \"{}\"{}; there are cells, fine_tunes, attempts, curves, samples",
                   table, nearest.empty() ? "" : " (did you mean " + nearest + "?)");
}

Columns columns_after_first(const std::string& table) {
  const Columns& columns = table_columns(table);
  return {columns.begin() + 1, columns.end()};
}

const Columns& internal_columns(const std::string& table) {
  static const std::map<std::string, Columns> internal = {
      {"cells", {{"sum_yy", real}, {"sum_yt", real}, {"sum_tt", real}}},
      {"fine_tunes", {{"checkpoint", text}, {"digests", text, true}}},
  };
  static const Columns none;
  const auto found = internal.find(table);
  return found == internal.end() ? none : found->second;
}

}  // namespace ropesweep
