// `query --table pairs`.
#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "analysis/derived_tables.h"
#include "analysis/paired_difference.h"
#include "storage/row_writer.h"

namespace ropesweep {
namespace {

using enum ColumnType;

const std::vector<ColumnSpec>& columns() {
  static const std::vector<ColumnSpec> specs = {
      {"model", text},        {"dataset", text},         {"context_length", integer},
      {"seed", integer},      {"metric", text},          {"recipe_a", text},
      {"scheme_a", text},     {"train_scale_a", real},   {"eval_scale_a", real},
      {"recipe_b", text},     {"scheme_b", text},        {"train_scale_b", real},
      {"eval_scale_b", real}, {"value_a", real},         {"value_b", real},
      {"difference", real},   {"standard_error", real},  {"count", integer},
      {"log_ratio", real},    {"log_ratio_error", real}, {"distinguishable", integer},
      {"cell_a", text},       {"cell_b", text}};
  return specs;
}

/// Cells of the same key may share their samples.
using GroupKey = std::tuple<std::string, std::string, int64_t, int64_t, std::string>;

/// What the cell's canonical text says of its samples; empty when it came without one (a published
/// file read by itself), where the data set's name must do.
std::string samples_of(const Cell& cell) {
  const nlohmann::json canonical = nlohmann::json::parse(cell.canonical, nullptr, false);
  if (!canonical.is_object() || !canonical.contains("data")) return "";
  nlohmann::json data = canonical["data"];
  data.erase("by_position");  // more rows of the same samples
  return data.dump();
}

/// The metrics whose records can be compared, the main one first.
std::vector<std::pair<std::string, PairedFigure>> paired_metrics(const CellRecord& record) {
  std::vector<std::pair<std::string, PairedFigure>> found;
  size_t accuracies = 0;
  for (const Measure& measure : record.outcome.measures) {
    const std::string& name = measure.metric;
    if (name == "ppl_token") found.emplace_back(name, PairedFigure::token_loss);
    if (name == "ppl_window") found.emplace_back(name, PairedFigure::window_loss);
    if (name == "mc2") found.emplace_back(name, PairedFigure::share);
    if (!name.starts_with("accuracy") || name.find('@') != std::string::npos) continue;
    if (++accuracies > 2) continue;
    found.emplace_back(name, accuracies == 1 ? PairedFigure::hit : PairedFigure::second_hit);
  }
  return found;
}

void put_pair(RowWriter& out, const CellRecord& first, const CellRecord& second) {
  const Cell &a = first.cell, &b = second.cell;
  const auto metrics = paired_metrics(second);
  for (const auto& metric : paired_metrics(first)) {
    if (std::find(metrics.begin(), metrics.end(), metric) == metrics.end()) continue;
    const auto found =
        paired_difference(first.outcome.samples, second.outcome.samples, metric.second);
    if (!found) continue;
    out.row(a.model, a.dataset, a.context_length, a.seed, metric.first, a.recipe, a.scheme,
            a.train_scale, a.eval_scale, b.recipe, b.scheme, b.train_scale, b.eval_scale,
            found->value_a, found->value_b, found->difference, found->standard_error, found->count,
            found->log_ratio, found->log_ratio_error, int64_t{tells_apart(*found)}, a.id, b.id);
  }
}

}  // namespace

Table make_pairs(const StoreContents& contents) {
  std::vector<GroupKey> order;
  std::map<GroupKey, std::vector<size_t>> groups;
  for (size_t i = 0; i < contents.cells.size(); ++i) {
    const CellRecord record = contents.cells[i];
    if (record.outcome.samples.empty() || record.outcome.measures.empty()) continue;
    const Cell& cell = record.cell;
    const GroupKey key = {cell.model, cell.dataset, cell.context_length, cell.seed,
                          samples_of(cell)};
    const auto [group, is_new] = groups.try_emplace(key);
    if (is_new) order.push_back(key);
    group->second.push_back(i);
  }
  Table table = empty_table(columns());
  RowWriter out(table);
  for (const GroupKey& key : order) {
    std::vector<CellRecord> cells;
    for (const size_t each : groups.at(key)) cells.push_back(contents.cells[each]);
    for (size_t i = 0; i < cells.size(); ++i) {
      for (size_t j = i + 1; j < cells.size(); ++j) put_pair(out, cells[i], cells[j]);
    }
  }
  return table;
}

}  // namespace ropesweep
