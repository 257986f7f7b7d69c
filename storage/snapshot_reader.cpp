// Reading a published file back: for a store that was copied without its journal, and for `check`.
#include <algorithm>

#include "storage/migrations.h"
#include "storage/snapshot.h"
#include "storage/snapshot_file.h"
#include "storage/tables.h"

namespace ropesweep {
namespace {

/// Rows that are in memory as columns.
constexpr size_t kBlockRows = 4096;

/// Adds the records of a table to those read so far.
void read_records(const SnapshotFile& file, const std::string& name, StoreContents& contents) {
  const SnapshotFile::Rows shown = file.rows(name, table_columns(name));
  const SnapshotFile::Rows internal = file.rows("internal/" + name, internal_columns(name));
  if (!internal_columns(name).empty() && internal.size() != shown.size()) {
    throw_transient_error("{}: /internal/{} has another length than /{}; see 'ropesweep check'",
                          file.path().string(), name, name);
  }
  for (size_t row = 0; row < shown.size(); row += kBlockRows) {
    const size_t count = std::min(kBlockRows, shown.size() - row);
    add_records(name, {shown.read(row, count), internal.read(row, count)}, contents);
  }
}

SnapshotStamp stamp_of(const SnapshotFile& file) {
  return {file.text("journal"), file.integer("journal_bytes")};
}

}  // namespace

SnapshotStamp read_snapshot_stamp(const std::filesystem::path& h5_file) {
  const Hdf5Quiet quiet;
  return stamp_of(SnapshotFile(h5_file));
}

std::optional<SnapshotTable> read_snapshot_table(const std::filesystem::path& h5_file,
                                                 const std::string& name) {
  const Hdf5Quiet quiet;
  const SnapshotFile file(h5_file);
  if (file.integer("schema_version") != kSchemaVersion) return std::nullopt;
  return SnapshotTable{stamp_of(file), file.table(name, table_columns(name))};
}

StoreContents read_snapshot(const std::filesystem::path& h5_file) {
  return read_stamped_snapshot(h5_file, Details::all).contents;
}

Snapshot read_stamped_snapshot(const std::filesystem::path& h5_file, Details details) {
  const Hdf5Quiet quiet;
  const SnapshotFile file(h5_file);
  StoreContents contents;
  for (const char* table : {"cells", "fine_tunes", "attempts"}) {
    read_records(file, table, contents);
  }
  const bool curves = details == Details::all && file.has_members("curves");
  for (size_t i = 0; curves && i < contents.fine_tunes.size(); ++i) {
    FineTuneRecord& record = contents.fine_tunes[i];
    const std::string name = "curves/" + record.fine_tune.id;
    if (!file.has(name)) continue;
    record.outcome.curve = curve_from(file.table(name, columns_after_first("curves")));
  }
  const bool samples = details == Details::all && file.has_members("samples");
  for (size_t i = 0; samples && i < contents.cells.size(); ++i) {
    const std::string name = "samples/" + contents.cells[i].cell.id;
    if (!file.has(name)) continue;
    contents.cells.change(i, [&](CellRecord& record) {
      record.outcome.samples = samples_from(file.table(name, columns_after_first("samples")));
    });
  }
  for (const std::string& name : file.text_attributes()) {
    if (name != "journal") contents.provenance.text[name] = file.text(name.c_str());
  }
  upgrade_contents(contents, file.integer("schema_version"), schema_upgrades());
  return {stamp_of(file), std::move(contents)};
}

}  // namespace ropesweep
