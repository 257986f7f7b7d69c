// Writing the published file, table by table in blocks of rows.
#include "storage/snapshot.h"

#include <optional>
#include <set>

#include "storage/block_file.h"
#include "storage/block_file_driver.h"
#include "storage/file_seal.h"
#include "storage/handle.h"
#include "storage/posix_file.h"
#include "storage/row_writer.h"
#include "storage/table_writer.h"
#include "storage/tables.h"

namespace ropesweep {
namespace {

constexpr size_t kBlockRows = 4096;

void write_attribute(hid_t where, const std::string& name, hid_t type, const void* value) {
  const Hdf5Space scalar(H5Screate(H5S_SCALAR), "create a dataspace");
  const Hdf5Attribute attribute(
      H5Acreate2(where, name.c_str(), type, scalar, H5P_DEFAULT, H5P_DEFAULT),
      "create attribute " + name);
  hdf5_check(H5Awrite(attribute, type, value), "write attribute " + name);
}

void write_text_attribute(hid_t where, const std::string& name, const std::string& value) {
  const std::string clean = without_nul(value);
  const char* pointer = clean.c_str();
  write_attribute(where, name, hdf5_text_type(), &pointer);
}

void write_integer_attribute(hid_t where, const std::string& name, int64_t value) {
  write_attribute(where, name, H5T_NATIVE_INT64, &value);
}

/// What must be known of all cells before the first is written.
struct CellsSummary {
  hsize_t rows = 0;
  bool completed = true;  ///< nothing is left to compute
};

CellsSummary summary_of(const StoreContents& contents) {
  CellsSummary summary;
  for (const CellRecord& record : contents.cells) {
    summary.rows += row_count(record);
    if (record.status == "pending" || record.status == "running") summary.completed = false;
  }
  return summary;
}

void write_attributes(hid_t file, const StoreContents& contents, bool completed,
                      const SnapshotStamp& stamp) {
  static const std::set<std::string> own = {"schema_version", "completed", "journal",
                                            "journal_bytes"};
  for (const auto& [key, value] : contents.provenance.text) {
    if (!own.contains(key)) write_text_attribute(file, key, value);
  }
  write_integer_attribute(file, "schema_version", kSchemaVersion);
  write_integer_attribute(file, "completed", completed ? 1 : 0);
  write_text_attribute(file, "journal", stamp.journal);
  write_integer_attribute(file, "journal_bytes", stamp.journal_bytes);
}

/// The tables, curves and samples. What the disk refuses is looked for often: until then it costs
/// memory.
class ContentsWriter {
 public:
  ContentsWriter(hid_t file, const BlockFile& blocks, const StoreContents& contents)
      : file_(file), blocks_(blocks), contents_(contents) {}

  void write(hsize_t cell_rows) const {
    const Hdf5Group internal = group("internal");
    write_table("cells", cell_rows, internal);
    write_table("fine_tunes", contents_.fine_tunes.size(), internal);
    write_table("attempts", contents_.attempts.size(), internal);
    write_curves(group("curves"));
    write_samples(group("samples"));
  }

 private:
  Hdf5Group group(const char* name) const {
    return {H5Gcreate2(file_, name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
            std::string("create group ") + name};
  }

  void write_table(const std::string& name, hsize_t rows, hid_t internal) const {
    TableWriter shown(formats_, file_, name, empty_table(table_columns(name)), rows);
    std::optional<TableWriter> beside;
    if (const Table columns = empty_table(internal_columns(name)); !columns.empty()) {
      beside.emplace(formats_, internal, name, columns, rows);
    }
    for_each_block(contents_, name, kBlockRows, [&](const TableBlock& block) {
      shown.append(block.shown);
      if (beside) beside->append(block.internal);
      blocks_.check();
    });
  }

  void write_curves(hid_t curves) const {
    for (const FineTuneRecord& record : contents_.fine_tunes) {
      if (record.outcome.curve.step.empty()) continue;
      write_whole_table(curves, record.fine_tune.id, curve_table(record.outcome.curve));
    }
  }

  void write_samples(hid_t samples) const {
    const std::vector<ColumnSpec> columns = columns_after_first("samples");
    for (const CellRecord& record : contents_.cells) {
      if (record.outcome.samples.empty()) continue;
      write_whole_table(samples, record.cell.id,
                        without_silent_columns(sample_table(record.outcome.samples), columns));
    }
  }

  void write_whole_table(hid_t parent, const std::string& name, const Table& table) const {
    TableWriter(formats_, parent, name, table, row_count(table)).append(table);
    blocks_.check();
  }

  hid_t file_;
  const BlockFile& blocks_;
  const StoreContents& contents_;
  TableFormats formats_;
};

}  // namespace

void write_snapshot(const std::filesystem::path& h5_file, const StoreContents& contents,
                    const SnapshotStamp& stamp) {
  const Hdf5Quiet quiet;
  const auto write = [&](const OwnedDescriptor& file, const std::filesystem::path& beside) {
    BlockFile blocks(file, beside);
    const uint64_t length = make_hdf5_file(blocks, [&](hid_t hdf5) {
      const CellsSummary cells = summary_of(contents);
      write_attributes(hdf5, contents, cells.completed, stamp);
      ContentsWriter(hdf5, blocks, contents).write(cells.rows);
    });
    const auto seal = make_seal(length, blocks.crc(length));
    blocks.write(length, seal);
    blocks.finish(length + seal.size());
  };
  replace_file(h5_file, write);
}

}  // namespace ropesweep
