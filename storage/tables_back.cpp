// Columns → records, for a published file that is read without its journal.
#include <algorithm>
#include <cmath>

#include "storage/plain_names.h"
#include "storage/tables.h"

namespace ropesweep {
namespace {

/// Looks up a column by its name once, then reads rows.
class RowReader {
 public:
  explicit RowReader(const Table& table) : table_(table) {}
  const std::string& text(const char* name, size_t row) { return column(name).texts[row]; }
  double real(const char* name, size_t row) { return column(name).numbers[row]; }
  int64_t integer(const char* name, size_t row) {
    return static_cast<int64_t>(column(name).numbers[row]);
  }
  /// A number that the table shows as NaN when there is none.
  double real_or_zero(const char* name, size_t row) {
    const double value = real(name, row);
    return std::isnan(value) ? 0 : value;
  }

 private:
  /// `name`: a literal, so that its address tells it apart.
  const Column& column(const char* name) {
    const auto found = std::find_if(columns_.begin(), columns_.end(),
                                    [name](const auto& known) { return known.first == name; });
    if (found != columns_.end()) return *found->second;
    return *columns_.emplace_back(name, &column_of(table_, name)).second;
  }

  const Table& table_;
  std::vector<std::pair<const char*, const Column*>> columns_;
};

CellRecord cell_from(RowReader& in, size_t row) {
  CellRecord record;
  Cell& cell = record.cell;
  cell.id = in.text("id", row);
  cell.model = in.text("model", row);
  cell.recipe = in.text("recipe", row);
  cell.scheme = in.text("scheme", row);
  cell.dataset = in.text("dataset", row);
  cell.train_scale = in.real("train_scale", row);
  cell.eval_scale = in.real("eval_scale", row);
  cell.context_length = in.integer("context_length", row);
  cell.seed = in.integer("seed", row);
  cell.fine_tune = in.text("fine_tune", row);
  record.status = in.text("status", row);
  record.failure_kind = failure_kind_from(in.text("failure_kind", row));
  record.failure = in.text("failure", row);
  record.attempts = in.integer("attempts", row);
  record.device = in.text("device", row);
  record.type = in.text("type", row);
  record.finished_at = in.real_or_zero("finished_at", row);
  record.outcome.cell = cell.id;
  record.outcome.seconds = in.real_or_zero("seconds", row);
  return record;
}

Measure measure_from(RowReader& in, RowReader& internal, size_t row) {
  Measure measure;
  measure.metric = in.text("metric", row);
  measure.count = in.integer("count", row);
  measure.sum_nll = in.real("sum_nll", row);
  measure.tokens = in.integer("tokens", row);
  measure.hits = in.integer("hits", row);
  measure.sum_yy = internal.real("sum_yy", row);
  measure.sum_yt = internal.real("sum_yt", row);
  measure.sum_tt = internal.real("sum_tt", row);
  return measure;
}

FineTuneRecord fine_tune_from(RowReader& in, RowReader& internal, size_t row) {
  FineTuneRecord record;
  FineTune& tune = record.fine_tune;
  tune.id = in.text("id", row);
  tune.parent = in.text("parent", row);
  tune.model = in.text("model", row);
  tune.recipe.name = in.text("recipe", row);
  tune.scheme = in.text("scheme", row);
  tune.train_scale = in.real("train_scale", row);
  tune.seed = in.integer("seed", row);
  record.status = in.text("status", row);
  record.failure_kind = failure_kind_from(in.text("failure_kind", row));
  record.failure = in.text("failure", row);
  record.attempts = in.integer("attempts", row);
  record.seconds = in.real_or_zero("seconds", row);
  record.device = in.text("device", row);
  record.type = in.text("type", row);
  record.outcome.fine_tune = tune.id;
  record.outcome.steps = in.integer("steps", row);
  record.outcome.tokens = in.integer("tokens", row);
  record.outcome.training_loss = in.real("training_loss", row);
  record.outcome.validation_loss = in.real("validation_loss", row);
  record.outcome.checkpoint = internal.text("checkpoint", row);
  record.outcome.digests = internal.text("digests", row);
  return record;
}

AttemptRecord attempt_from(RowReader& in, size_t row) {
  AttemptRecord record;
  record.task = in.text("task", row);
  record.kind = in.text("kind", row);
  record.number = in.integer("number", row);
  record.worker = in.integer("worker", row);
  record.host = in.text("host", row);
  record.device = in.text("device", row);
  record.status = in.text("status", row);
  record.failure_kind = failure_kind_from(in.text("failure_kind", row));
  record.failure = in.text("failure", row);
  record.started_at = in.real("started_at", row);
  record.seconds = in.real("seconds", row);
  return record;
}

void add_cells(RowReader& in, RowReader& internal, size_t rows, StoreContents& contents) {
  // A cell's rows, one a metric, stand together.
  const auto add_measures = [&](CellRecord& record, size_t row) {
    for (; row < rows && in.text("id", row) == record.cell.id; ++row) {
      if (in.text("metric", row).empty()) continue;
      record.outcome.measures.push_back(measure_from(in, internal, row));
    }
    return row;
  };
  size_t row = 0;
  const size_t last = contents.cells.size() - 1;  // the block before this may end within it
  if (rows > 0 && !contents.cells.empty() && contents.cells.back().cell.id == in.text("id", 0)) {
    contents.cells.change(last, [&](CellRecord& record) { row = add_measures(record, 0); });
  }
  while (row < rows) {
    CellRecord record = cell_from(in, row);
    check_names(record);
    row = add_measures(record, row);
    contents.cells.push_back(record);
  }
}

std::vector<int64_t> integers(const Column& column) {
  return {column.numbers.begin(), column.numbers.end()};
}

}  // namespace

Curve curve_from(const Table& table) {
  Curve curve;
  curve.step = integers(column_of(table, "step"));
  curve.training_loss = column_of(table, "training_loss").numbers;
  curve.validation_loss = column_of(table, "validation_loss").numbers;
  curve.learning_rate = column_of(table, "learning_rate").numbers;
  curve.gradient_norm = column_of(table, "gradient_norm").numbers;
  return curve;
}

std::vector<SampleRecord> samples_from(const Table& table) {
  RowReader in(table);
  std::vector<SampleRecord> samples(row_count(table));
  for (size_t row = 0; row < samples.size(); ++row) {
    samples[row] = {
        in.integer("index", row),    in.text("text", row),     in.text("reference", row),
        in.integer("hit", row) != 0, in.text("location", row), in.integer("second_hit", row) != 0,
        in.integer("tokens", row),   in.real("nll", row),      in.integer("windows", row),
        in.real("window_nll", row),  in.real("share", row)};
  }
  return samples;
}

void add_records(const std::string& table, const TableBlock& block, StoreContents& contents) {
  RowReader in(block.shown), internal(block.internal);
  const size_t rows = row_count(block.shown);
  if (table == "cells") return add_cells(in, internal, rows, contents);
  for (size_t row = 0; row < rows; ++row) {
    if (table == "fine_tunes") {
      contents.fine_tunes.push_back(fine_tune_from(in, internal, row));
      check_names(contents.fine_tunes.back());
    } else {
      contents.attempts.push_back(attempt_from(in, row));
    }
  }
}

}  // namespace ropesweep
