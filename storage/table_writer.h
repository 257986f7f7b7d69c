// A table as a group of HDF5 datasets, one a column, filled with blocks of rows.
#pragma once

#include <string>
#include <vector>

#include "storage/handle.h"
#include "storage/store.h"

namespace ropesweep {

/// Text as HDF5 takes it: a NUL would end it early.
std::string without_nul(std::string text);

/// What the datasets of all tables of a file share.
struct TableFormats {
  TableFormats();
  Hdf5Type text;
  Hdf5Properties compact;   ///< data in the object header
  Hdf5Properties transfer;  ///< with little memory to convert in
};

class TableWriter {
 public:
  /// Creates the group and its datasets of `rows` rows, in the columns of `columns`.
  TableWriter(const TableFormats& formats, hid_t parent, const std::string& name,
              const Table& columns, hsize_t rows);

  /// Writes the next rows: a block of the same columns.
  void append(const Table& block);

 private:
  void write(hid_t dataset, hid_t memory, const Column& column) const;

  const TableFormats& formats_;
  Hdf5Space space_;
  std::vector<Hdf5Dataset> datasets_;
  hsize_t written_ = 0;
};

}  // namespace ropesweep
