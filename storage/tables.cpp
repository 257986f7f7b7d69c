// Records → columns. Each table is one list of getters, held against the schema.
#include "storage/tables.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <type_traits>
#include <utility>

#include "experiments/error.h"
#include "storage/row_writer.h"

namespace ropesweep {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

/// A row of /cells: a cell and one of its metrics, or none.
void put_cell_row(const CellRecord& r, const Measure* measure, RowWriter& out) {
  const Cell& c = r.cell;
  const Measure none;
  const Measure& m = measure != nullptr ? *measure : none;
  const auto if_any = [measure](double value) { return measure != nullptr ? value : nan; };
  out.row(c.id, c.model, c.recipe, c.scheme, c.train_scale, c.eval_scale, c.context_length,
          c.dataset, c.seed, m.metric, if_any(metric_value(m)), if_any(metric_standard_error(m)),
          m.count, if_any(m.sum_nll), m.tokens, m.hits, r.status, to_string(r.failure_kind),
          r.failure, r.attempts, if_any(r.outcome.seconds), c.fine_tune, r.device, r.type,
          r.finished_at > 0 ? r.finished_at : nan);
}

void put(const CellRecord& r, RowWriter& out) {
  if (r.outcome.measures.empty()) put_cell_row(r, nullptr, out);
  for (const Measure& measure : r.outcome.measures) put_cell_row(r, &measure, out);
}

void put_internal(const CellRecord& r, RowWriter& out) {
  if (r.outcome.measures.empty()) out.row(0.0, 0.0, 0.0);
  for (const Measure& m : r.outcome.measures) out.row(m.sum_yy, m.sum_yt, m.sum_tt);
}

void put(const FineTuneRecord& r, RowWriter& out) {
  const FineTune& f = r.fine_tune;
  const bool done = r.outcome.steps > 0;
  out.row(f.id, f.parent, f.model, f.recipe.name, f.scheme, f.train_scale, f.seed, r.status,
          to_string(r.failure_kind), r.failure, r.outcome.steps, r.outcome.tokens,
          done ? r.outcome.training_loss : nan, done ? r.outcome.validation_loss : nan, r.attempts,
          r.seconds > 0 ? r.seconds : nan, r.device, r.type);
}

void put_internal(const FineTuneRecord& r, RowWriter& out) {
  out.row(r.outcome.checkpoint, r.outcome.digests);
}

void put(const AttemptRecord& r, RowWriter& out) {
  out.row(r.task, r.kind, r.number, r.worker, r.host, r.device, r.status, to_string(r.failure_kind),
          r.failure, r.started_at, r.seconds);
}

void put_internal(const AttemptRecord&, RowWriter&) {}

/// `values[i]`, or NaN past its end: a curve need not measure everything.
double at_or_nan(const std::vector<double>& values, size_t i) {
  return i < values.size() ? values[i] : nan;
}

/// Rows of a curve, after `leading` columns.
template <typename... Leading>
void put_curve(const Curve& c, RowWriter& out, const Leading&... leading) {
  for (size_t i = 0; i < c.step.size(); ++i) {
    out.row(leading..., c.step[i], at_or_nan(c.training_loss, i), at_or_nan(c.validation_loss, i),
            at_or_nan(c.learning_rate, i), at_or_nan(c.gradient_norm, i));
  }
}

/// Rows of samples, after `leading` columns.
template <typename... Leading>
void put_samples(const std::vector<SampleRecord>& samples, RowWriter& out,
                 const Leading&... leading) {
  for (const SampleRecord& s : samples) {
    out.row(leading..., s.index, s.text, s.reference, int64_t{s.hit}, s.location,
            int64_t{s.second_hit}, s.tokens, s.nll, s.windows, s.window_nll, s.share);
  }
}

void clear_rows(Table& table) {
  for (Column& column : table) {
    column.numbers.clear();
    column.texts.clear();
  }
}

}  // namespace

Column empty_column(const ColumnSpec& spec) {
  Column column;
  column.name = spec.name;
  column.is_text = spec.type == ColumnType::text;
  column.is_integer = spec.type == ColumnType::integer;
  return column;
}

size_t record_count(const StoreContents& contents, const std::string& table) {
  if (table == "cells" || table == "samples") return contents.cells.size();
  if (table == "attempts") return contents.attempts.size();
  return contents.fine_tunes.size();
}

Table make_table(const StoreContents& contents, const std::string& table) {
  return table_of(contents, table, 0, record_count(contents, table));
}

Table table_of(const StoreContents& contents, const std::string& table, size_t first,
               size_t count) {
  Table result = empty_table(table_columns(table));
  RowWriter out(result);
  const auto put_each = [&](const auto& records, const auto& put_one) {
    const size_t end = std::min(first + count, records.size());
    for (size_t i = first; i < end; ++i) put_one(records[i]);
  };
  const auto put_row = [&out](const auto& record) { put(record, out); };
  if (table == "cells") put_each(contents.cells, put_row);
  if (table == "fine_tunes") put_each(contents.fine_tunes, put_row);
  if (table == "attempts") put_each(contents.attempts, put_row);
  if (table == "curves") {
    put_each(contents.fine_tunes, [&out](const FineTuneRecord& record) {
      put_curve(record.outcome.curve, out, record.fine_tune.id);
    });
  }
  if (table == "samples") {
    put_each(contents.cells, [&out](const CellRecord& record) {
      put_samples(record.outcome.samples, out, record.cell.id);
    });
  }
  return result;
}

size_t row_count(const CellRecord& record) {
  return std::max<size_t>(record.outcome.measures.size(), 1);
}

void for_each_block(const StoreContents& contents, const std::string& table, size_t rows,
                    const std::function<void(const TableBlock& block)>& visit) {
  TableBlock block = {empty_table(table_columns(table)), empty_table(internal_columns(table))};
  const auto visit_all = [&](const auto& records) {
    RowWriter shown(block.shown), internal(block.internal);
    for (const auto& record : records) {
      put(record, shown);
      put_internal(record, internal);
      if (row_count(block.shown) < rows) continue;
      visit(block);
      clear_rows(block.shown);
      clear_rows(block.internal);
    }
    if (row_count(block.shown) > 0) visit(block);
  };
  if (table == "cells") visit_all(contents.cells);
  if (table == "fine_tunes") visit_all(contents.fine_tunes);
  if (table == "attempts") visit_all(contents.attempts);
}

Table curve_table(const Curve& curve) {
  Table result = empty_table(columns_after_first("curves"));
  RowWriter out(result);
  put_curve(curve, out);
  return result;
}

Table sample_table(const std::vector<SampleRecord>& samples) {
  Table result = empty_table(columns_after_first("samples"));
  RowWriter out(result);
  put_samples(samples, out);
  return result;
}

Table without_silent_columns(Table table, const std::vector<ColumnSpec>& specs) {
  const auto says_nothing = [&specs](const Column& column) {
    const auto spec = std::find_if(specs.begin(), specs.end(), [&column](const ColumnSpec& each) {
      return each.name == column.name;
    });
    return spec != specs.end() && spec->optional &&
           std::all_of(column.texts.begin(), column.texts.end(),
                       [](const std::string& text) { return text.empty(); }) &&
           std::all_of(column.numbers.begin(), column.numbers.end(),
                       [](double number) { return number == 0; });
  };
  std::erase_if(table, says_nothing);
  return table;
}

size_t row_count(const Table& table) {
  if (table.empty()) return 0;
  return table.front().is_text ? table.front().texts.size() : table.front().numbers.size();
}

const Column& column_of(const Table& table, const std::string& name) {
  for (const Column& column : table) {
    if (column.name == name) return column;
  }
  throw_transient_error("the table has no column \"{}\"", name);
}

}  // namespace ropesweep
