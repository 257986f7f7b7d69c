// `query --table contexts`, and the choice among all tables.
#include <algorithm>
#include <limits>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "analysis/derived_tables.h"
#include "experiments/error.h"
#include "experiments/nearest_name.h"
#include "storage/row_writer.h"

namespace ropesweep {
namespace {

using enum ColumnType;

const std::vector<ColumnSpec>& columns() {
  static const std::vector<ColumnSpec> specs = {{"model", text},
                                                {"recipe", text},
                                                {"dataset", text},
                                                {"scheme", text},
                                                {"train_scale", real},
                                                {"eval_scale", real},
                                                {"seed", integer},
                                                {"metric", text},
                                                {"threshold", real},
                                                {"context_length", integer},
                                                {"value", real},
                                                {"standard_error", real},
                                                {"unbroken_length", integer},
                                                {"next_length", integer},
                                                {"measured", integer}};
  return specs;
}

/// All of a cell but its context length.
using SeriesKey =
    std::tuple<std::string, std::string, std::string, std::string, double, double, int64_t>;

struct Series {
  Cell cell;                             ///< one of them
  std::map<int64_t, Measure> by_length;  ///< main measures
};

void put_series(RowWriter& out, const Series& series, double threshold) {
  constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  int64_t reached = 0, unbroken = 0, next = 0;
  double value = nan, error = nan;
  bool is_unbroken = true;
  for (const auto& [length, measure] : series.by_length) {
    if (metric_value(measure) >= threshold) {
      reached = length;
      value = metric_value(measure);
      error = metric_standard_error(measure);
      if (is_unbroken) unbroken = length;
    } else {
      is_unbroken = false;
    }
  }
  const auto after = series.by_length.upper_bound(reached);
  if (after != series.by_length.end()) next = after->first;
  const Cell& c = series.cell;
  out.row(c.model, c.recipe, c.dataset, c.scheme, c.train_scale, c.eval_scale, c.seed,
          series.by_length.begin()->second.metric, threshold, reached, value, error, unbroken, next,
          static_cast<int64_t>(series.by_length.size()));
}

}  // namespace

Table make_contexts(const StoreContents& contents, double threshold) {
  if (!(threshold > 0 && threshold <= 1)) {
    throw_user_error("--threshold {}: an accuracy above 0, 1 at most", threshold);
  }
  std::vector<SeriesKey> order;
  std::map<SeriesKey, Series> all;
  for (const CellRecord& record : contents.cells) {
    if (record.outcome.measures.empty()) continue;
    const Measure& main = record.outcome.measures.front();
    if (!main.metric.starts_with("accuracy")) continue;
    const Cell& c = record.cell;
    const SeriesKey key = {c.model,       c.recipe,     c.dataset, c.scheme,
                           c.train_scale, c.eval_scale, c.seed};
    const auto [series, is_new] = all.try_emplace(key);
    if (is_new) order.push_back(key);
    series->second.cell = c;
    series->second.by_length[c.context_length] = main;
  }
  Table table = empty_table(columns());
  RowWriter out(table);
  for (const SeriesKey& key : order) put_series(out, all.at(key), threshold);
  return table;
}

Table make_any_table(const StoreContents& contents, const std::string& table,
                     const DerivedOptions& options) {
  if (table == "pairs") return make_pairs(contents);
  if (table == "contexts") return make_contexts(contents, options.threshold);
  std::vector<std::string> names = table_names();
  if (std::find(names.begin(), names.end(), table) == names.end()) {
    names.insert(names.end(), {"pairs", "contexts"});
    const std::string nearest = nearest_name(table, names);
    throw_user_error("no table \"{}\"{}; there are {}", table,
                     nearest.empty() ? "" : " (did you mean " + nearest + "?)",
                     fmt::join(names, ", "));
  }
  return make_table(contents, table);
}

}  // namespace ropesweep
