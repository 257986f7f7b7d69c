// Records as columns and back: what the snapshot writes and reads.
#pragma once

#include <functional>
#include <string>

#include "storage/schema.h"
#include "storage/store.h"

namespace ropesweep {

/// Rows of /cells that one cell takes.
size_t row_count(const CellRecord& record);

/// How many records a table of make_table() is made from: curves of fine-tunes, samples of cells.
size_t record_count(const StoreContents& contents, const std::string& table);
/// The rows that `count` of these records give, from the first on.
Table table_of(const StoreContents& contents, const std::string& table, size_t first, size_t count);

/// Some rows of a table in order, with those of /internal/TABLE (schema.h; no columns: it has
/// none).
struct TableBlock {
  Table shown, internal;
};

/// Visits the rows of cells, fine_tunes or attempts in blocks of about `rows`, so that a large
/// table need not be in memory. Looks at each record once.
void for_each_block(const StoreContents& contents, const std::string& table, size_t rows,
                    const std::function<void(const TableBlock& block)>& visit);

/// Columns of one fine-tune's curve, of one cell's samples.
Table curve_table(const Curve& curve);
Table sample_table(const std::vector<SampleRecord>& samples);

/// Without the optional columns that hold nothing but empty texts and zeros.
Table without_silent_columns(Table table, const std::vector<ColumnSpec>& specs);

/// An empty column of a spec.
Column empty_column(const ColumnSpec& spec);
/// The number of rows (all columns are equally long).
size_t row_count(const Table& table);
/// Errors: transient when there is no such column.
const Column& column_of(const Table& table, const std::string& name);

/// The reverse of make_table for one fine-tune's curve or one cell's samples.
Curve curve_from(const Table& table);
std::vector<SampleRecord> samples_from(const Table& table);

/// The reverse of for_each_block, as far as the tables tell: recipes by name only, no canonical
/// texts. `block` follows those that were added before. Curves and samples are added by the caller.
void add_records(const std::string& table, const TableBlock& block, StoreContents& contents);

}  // namespace ropesweep
