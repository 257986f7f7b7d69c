// Writing the published file. It is made in memory and written out by us, so that a full disk is
// our error and not a half-closed HDF5 file.
#include "storage/snapshot.h"

#include <algorithm>
#include <set>

#include "storage/file_seal.h"
#include "storage/handle.h"
#include "storage/memory_file.h"
#include "storage/posix_file.h"
#include "storage/tables.h"

namespace ropesweep {
namespace {

/// Text as HDF5 takes it: a NUL would end it early.
std::string without_nul(std::string text) {
  std::replace(text.begin(), text.end(), '\0', ' ');
  return text;
}

void write_texts(hid_t dataset, hid_t type, const Column& column) {
  std::vector<std::string> cleaned;
  for (const std::string& text : column.texts) {
    if (text.find('\0') != std::string::npos) cleaned.push_back(without_nul(text));
  }
  auto next_cleaned = cleaned.begin();
  std::vector<const char*> pointers;
  pointers.reserve(column.texts.size());
  for (const std::string& text : column.texts) {
    const bool clean = text.find('\0') == std::string::npos;
    pointers.push_back(clean ? text.c_str() : (next_cleaned++)->c_str());
  }
  hdf5_check(H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, pointers.data()),
             "write column " + column.name);
}

class TableWriter {
 public:
  TableWriter()
      : text_type_(hdf5_text_type()), small_(H5Pcreate(H5P_DATASET_CREATE), "prepare a dataset") {
    hdf5_check(H5Pset_layout(small_, H5D_COMPACT), "prepare a dataset");
  }

  void write(hid_t parent, const std::string& name, const Table& table) const {
    const Hdf5Group group(H5Gcreate2(parent, name.c_str(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
                          "create group " + name);
    const hsize_t rows = row_count(table);
    const Hdf5Space space(H5Screate_simple(1, &rows, nullptr), "create a dataspace");
    for (const Column& column : table) write_column(group, space, rows, column);
  }

  const Hdf5Type& text_type() const { return text_type_; }

 private:
  void write_column(hid_t group, hid_t space, hsize_t rows, const Column& column) const {
    // The data of a small column fit into its object header (64 KiB at most): no block of their
    // own.
    const hid_t layout = rows > 0 && rows * 16 < 32768 ? hid_t{small_} : hid_t{H5P_DEFAULT};
    const hid_t stored = column.is_text      ? hid_t{text_type_}
                         : column.is_integer ? H5T_STD_I64LE
                                             : H5T_IEEE_F64LE;
    const Hdf5Dataset dataset(
        H5Dcreate2(group, column.name.c_str(), stored, space, H5P_DEFAULT, layout, H5P_DEFAULT),
        "create column " + column.name);
    if (rows == 0) return;
    if (column.is_text) {
      write_texts(dataset, text_type_, column);
    } else {
      // Integers convert exactly: they came from int64 below 2^53.
      hdf5_check(H5Dwrite(dataset, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT,
                          column.numbers.data()),
                 "write column " + column.name);
    }
  }

  Hdf5Type text_type_;
  Hdf5Properties small_;
};

void write_attribute(hid_t where, const std::string& name, hid_t type, const void* value) {
  const Hdf5Space scalar(H5Screate(H5S_SCALAR), "create a dataspace");
  const Hdf5Attribute attribute(
      H5Acreate2(where, name.c_str(), type, scalar, H5P_DEFAULT, H5P_DEFAULT),
      "create attribute " + name);
  hdf5_check(H5Awrite(attribute, type, value), "write attribute " + name);
}

void write_text_attribute(hid_t where, const TableWriter& writer, const std::string& name,
                          const std::string& value) {
  const std::string clean = without_nul(value);
  const char* pointer = clean.c_str();
  write_attribute(where, name, writer.text_type(), &pointer);
}

void write_integer_attribute(hid_t where, const std::string& name, int64_t value) {
  write_attribute(where, name, H5T_NATIVE_INT64, &value);
}

/// True when nothing is left to compute.
bool is_completed(const StoreContents& contents) {
  return std::none_of(contents.cells.begin(), contents.cells.end(), [](const CellRecord& record) {
    return record.status == "pending" || record.status == "running";
  });
}

void write_attributes(hid_t file, const TableWriter& writer, const StoreContents& contents,
                      const SnapshotStamp& stamp) {
  static const std::set<std::string> own = {"schema_version", "completed", "journal",
                                            "journal_bytes"};
  for (const auto& [key, value] : contents.provenance.text) {
    if (!own.contains(key)) write_text_attribute(file, writer, key, value);
  }
  write_integer_attribute(file, "schema_version", kSchemaVersion);
  write_integer_attribute(file, "completed", is_completed(contents) ? 1 : 0);
  write_text_attribute(file, writer, "journal", stamp.journal);
  write_integer_attribute(file, "journal_bytes", stamp.journal_bytes);
}

void write_tables(hid_t file, const TableWriter& writer, const StoreContents& contents) {
  const auto group = [file](const char* name) {
    return Hdf5Group(H5Gcreate2(file, name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
                     std::string("create group ") + name);
  };
  for (const char* table : {"cells", "fine_tunes", "attempts"}) {
    writer.write(file, table, make_table(contents, table));
  }
  const Hdf5Group internal = group("internal");
  for (const char* table : {"cells", "fine_tunes"}) {
    writer.write(internal, table, make_internal_table(contents, table));
  }
  const Hdf5Group curves = group("curves");
  for (const FineTuneRecord& record : contents.fine_tunes) {
    if (record.outcome.curve.step.empty()) continue;
    writer.write(curves, record.fine_tune.id, curve_table(record.outcome.curve));
  }
  const Hdf5Group samples = group("samples");
  const std::vector<ColumnSpec> sample_columns = columns_after_first("samples");
  for (const CellRecord& record : contents.cells) {
    if (record.outcome.samples.empty()) continue;
    writer.write(samples, record.cell.id,
                 without_silent_columns(sample_table(record.outcome.samples), sample_columns));
  }
}

}  // namespace

std::vector<uint8_t> snapshot_image(const StoreContents& contents, const SnapshotStamp& stamp) {
  const Hdf5Quiet quiet;
  std::vector<uint8_t> image = hdf5_file_in_memory([&](hid_t file) {
    const TableWriter writer;
    write_attributes(file, writer, contents, stamp);
    write_tables(file, writer, contents);
  });
  seal_file(image);
  return image;
}

void write_snapshot(const std::filesystem::path& h5_file, const StoreContents& contents,
                    const SnapshotStamp& stamp) {
  replace_file(h5_file, snapshot_image(contents, stamp));
}

}  // namespace ropesweep
