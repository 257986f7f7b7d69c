// Creating the datasets and writing to them.
#include "storage/table_writer.h"

#include <algorithm>

#include "storage/tables.h"

namespace ropesweep {
namespace {

Hdf5Dataset create_column(hid_t group, const Column& column, hid_t space, hsize_t rows,
                          const TableFormats& formats) {
  // The data of a small column fit into its object header (64 KiB at most): no block of their own.
  const hid_t layout = rows > 0 && rows * 16 < 32768 ? hid_t{formats.compact} : hid_t{H5P_DEFAULT};
  const hid_t stored = column.is_text      ? hid_t{formats.text}
                       : column.is_integer ? H5T_STD_I64LE
                                           : H5T_IEEE_F64LE;
  return {H5Dcreate2(group, column.name.c_str(), stored, space, H5P_DEFAULT, layout, H5P_DEFAULT),
          "create column " + column.name};
}

/// What HDF5 reads texts from; `cleaned` holds those that had to change.
std::vector<const char*> pointers_to(const std::vector<std::string>& texts,
                                     std::vector<std::string>& cleaned) {
  const auto has_nul = [](const std::string& text) { return text.find('\0') != text.npos; };
  for (const std::string& text : texts) {
    if (has_nul(text)) cleaned.push_back(without_nul(text));
  }
  auto next_cleaned = cleaned.begin();
  std::vector<const char*> pointers;
  pointers.reserve(texts.size());
  for (const std::string& text : texts) {
    pointers.push_back(has_nul(text) ? (next_cleaned++)->c_str() : text.c_str());
  }
  return pointers;
}

}  // namespace

std::string without_nul(std::string text) {
  std::replace(text.begin(), text.end(), '\0', ' ');
  return text;
}

TableFormats::TableFormats()
    : text(hdf5_text_type()),
      compact(H5Pcreate(H5P_DATASET_CREATE), "prepare a dataset"),
      transfer(H5Pcreate(H5P_DATASET_XFER), "prepare a transfer") {
  hdf5_check(H5Pset_layout(compact, H5D_COMPACT), "prepare a dataset");
  // HDF5 clears all of it for each column: its own MiB costs more than a small table's data.
  constexpr size_t kConversionBytes = size_t{64} << 10;
  hdf5_check(H5Pset_buffer(transfer, kConversionBytes, nullptr, nullptr), "prepare a transfer");
}

TableWriter::TableWriter(const TableFormats& formats, hid_t parent, const std::string& name,
                         const Table& columns, hsize_t rows)
    : formats_(formats), space_(H5Screate_simple(1, &rows, nullptr), "create a dataspace") {
  const Hdf5Group group(H5Gcreate2(parent, name.c_str(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
                        "create group " + name);
  for (const Column& column : columns) {
    datasets_.push_back(create_column(group, column, space_, rows, formats));
  }
}

void TableWriter::append(const Table& block) {
  const hsize_t rows = row_count(block);
  if (rows == 0) return;
  const Hdf5Space memory(H5Screate_simple(1, &rows, nullptr), "create a dataspace");
  hdf5_check(H5Sselect_hyperslab(space_, H5S_SELECT_SET, &written_, nullptr, &rows, nullptr),
             "select rows");
  for (size_t i = 0; i < datasets_.size(); ++i) write(datasets_[i], memory, block[i]);
  written_ += rows;
}

void TableWriter::write(hid_t dataset, hid_t memory, const Column& column) const {
  if (column.is_text) {
    std::vector<std::string> cleaned;
    const std::vector<const char*> texts = pointers_to(column.texts, cleaned);
    hdf5_check(H5Dwrite(dataset, formats_.text, memory, space_, formats_.transfer, texts.data()),
               "write column " + column.name);
  } else {
    // Integers convert exactly: they came from int64 below 2^53.
    hdf5_check(
        H5Dwrite(dataset, H5T_NATIVE_DOUBLE, memory, space_, H5P_DEFAULT, column.numbers.data()),
        "write column " + column.name);
  }
}

}  // namespace ropesweep
