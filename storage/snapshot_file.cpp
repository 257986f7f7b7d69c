// HDF5's calls for reading, each checked.
#include "storage/snapshot_file.h"

#include <fcntl.h>

#include <algorithm>

#include "storage/file_seal.h"
#include "storage/posix_file.h"
#include "storage/snapshot.h"
#include "storage/tables.h"

namespace ropesweep {

SnapshotFile::SnapshotFile(const std::filesystem::path& path)
    : path_(path),
      descriptor_(open_file(path, O_RDONLY)),
      bytes_(static_cast<uint64_t>(file_size(descriptor_, path))),
      file_(open()) {
  const int64_t version = has_attribute("schema_version") ? integer("schema_version") : 0;
  if (version < 1) throw_user_error("{}: an HDF5 file, but no ropesweep store", path.string());
  if (version > kSchemaVersion) {
    throw NewerStore(fmt::format(
        "{}: written by a newer ropesweep (schema version {}, this one reads up to {}); use that "
        "version",
        path.string(), version, kSchemaVersion));
  }
}

Hdf5File SnapshotFile::open() const {
  if (check_seal(descriptor_, path_) == Seal::broken) {
    throw_transient_error(
        "{}: damaged (its checksum does not hold); 'ropesweep check --repair' rebuilds it from "
        "the journal",
        path_.string());
  }
  const Hdf5Properties access(H5Pcreate(H5P_FILE_ACCESS), "prepare a file");
  hdf5_check(H5Pset_fapl_sec2(access), "prepare a file");
  hdf5_check(H5Pset_file_locking(access, false, true), "prepare a file");
  // The very file whose seal was checked.
  const std::string name = fmt::format("/proc/self/fd/{}", descriptor_.get());
  const hid_t id = H5Fopen(name.c_str(), H5F_ACC_RDONLY, access);
  if (id < 0) {
    throw_user_error("{}: not an HDF5 file, or damaged; 'ropesweep check --repair' rebuilds it",
                     path_.string());
  }
  return {id, "open"};
}

int64_t SnapshotFile::integer(const char* name) const {
  const Hdf5Attribute attribute(H5Aopen(file_, name, H5P_DEFAULT), what("open attribute", name));
  check_single(attribute, name);
  int64_t value = 0;
  hdf5_check(H5Aread(attribute, H5T_NATIVE_INT64, &value), what("read attribute", name));
  return value;
}

std::string SnapshotFile::text(const char* name) const {
  const Hdf5Attribute attribute(H5Aopen(file_, name, H5P_DEFAULT), what("open attribute", name));
  check_single(attribute, name);
  const Hdf5Type type = hdf5_text_type();
  char* value = nullptr;
  hdf5_check(H5Aread(attribute, type, &value), what("read attribute", name));
  std::string result = value == nullptr ? "" : value;
  H5free_memory(value);
  return result;
}

std::vector<std::string> SnapshotFile::text_attributes() const {
  std::vector<std::string> names;
  const auto add = [](hid_t, const char* name, const H5A_info_t*, void* data) -> herr_t {
    static_cast<std::vector<std::string>*>(data)->emplace_back(name);
    return 0;
  };
  hsize_t index = 0;
  hdf5_check(H5Aiterate2(file_, H5_INDEX_NAME, H5_ITER_INC, &index, add, &names),
             what("list attributes", "/"));
  std::erase_if(names, [this](const std::string& name) { return !is_text(name); });
  return names;
}

bool SnapshotFile::has(const std::string& name) const {
  return H5Lexists(file_, name.c_str(), H5P_DEFAULT) > 0;
}

bool SnapshotFile::has_members(const std::string& name) const {
  H5G_info_t info;
  return has(name) && H5Gget_info_by_name(file_, name.c_str(), &info, H5P_DEFAULT) >= 0 &&
         info.nlinks > 0;
}

SnapshotFile::Rows SnapshotFile::rows(const std::string& name,
                                      const std::vector<ColumnSpec>& specs) const {
  Rows result(*this);
  std::optional<size_t> rows_before;
  for (const ColumnSpec& spec : specs) {
    Rows::Source& source = result.sources_.emplace_back(spec, "/" + name + "/" + spec.name);
    if (spec.optional && !has(name + "/" + spec.name)) continue;
    source.in.emplace(H5Dopen2(file_, source.name.c_str(), H5P_DEFAULT), what("open", source.name));
    result.rows_ = row_count(*source.in, source.name);
    if (rows_before.value_or(result.rows_) != result.rows_) {
      throw_transient_error("{}: the columns of /{} differ in length; see 'ropesweep check'",
                            path_.string(), name);
    }
    rows_before = result.rows_;
  }
  return result;
}

Table SnapshotFile::table(const std::string& name, const std::vector<ColumnSpec>& specs) const {
  const Rows all = rows(name, specs);
  return all.read(0, all.size());
}

Table SnapshotFile::Rows::read(size_t first, size_t count) const {
  Table result;
  for (const Source& source : sources_) result.push_back(column(source, first, count));
  return result;
}

Column SnapshotFile::Rows::column(const Source& source, size_t first, size_t count) const {
  Column result = empty_column(source.spec);
  if (!source.in || count == 0) {
    result.is_text ? result.texts.resize(count) : result.numbers.resize(count);
    return result;
  }
  const hid_t dataset = *source.in;
  const hsize_t begin = first, rows = count;
  const Hdf5Space stored(H5Dget_space(dataset), file_.what("open", source.name));
  const Hdf5Space memory(H5Screate_simple(1, &rows, nullptr), "create a dataspace");
  hdf5_check(H5Sselect_hyperslab(stored, H5S_SELECT_SET, &begin, nullptr, &rows, nullptr),
             file_.what("select rows", source.name));
  const std::string reading = file_.what("read", source.name);
  if (!result.is_text) {
    result.numbers.resize(count);
    hdf5_check(
        H5Dread(dataset, H5T_NATIVE_DOUBLE, memory, stored, H5P_DEFAULT, result.numbers.data()),
        reading);
    return result;
  }
  const Hdf5Type type = hdf5_text_type();
  std::vector<char*> texts(count, nullptr);
  hdf5_check(H5Dread(dataset, type, memory, stored, H5P_DEFAULT, texts.data()), reading);
  result.texts.reserve(count);
  for (const char* text : texts) result.texts.emplace_back(text == nullptr ? "" : text);
  H5Dvlen_reclaim(type, memory, H5P_DEFAULT, texts.data());
  return result;
}

size_t SnapshotFile::row_count(hid_t dataset, const std::string& name) const {
  const Hdf5Space space(H5Dget_space(dataset), what("open", name));
  const auto rows = static_cast<size_t>(std::max<hssize_t>(H5Sget_simple_extent_npoints(space), 0));
  if (rows > bytes_) {  // believed, it would be memory for as many
    throw_user_error("{}: {} claims {} rows, more than the file has bytes", path_.string(), name,
                     rows);
  }
  if (rows > 0 && H5Sget_simple_extent_ndims(space) != 1) {
    throw_user_error("{}: {} is no column; it is damaged, or not a store", path_.string(), name);
  }
  return rows;
}

bool SnapshotFile::is_text(const std::string& name) const {
  const Hdf5Attribute attribute(H5Aopen(file_, name.c_str(), H5P_DEFAULT), "open " + name);
  const Hdf5Type type(H5Aget_type(attribute), "read the type of " + name);
  return H5Tget_class(type) == H5T_STRING;
}

/// The reader has room for one value.
void SnapshotFile::check_single(hid_t attribute, const char* name) const {
  const Hdf5Space space(H5Aget_space(attribute), what("open attribute", name));
  if (H5Sget_simple_extent_npoints(space) != 1) {
    throw_user_error("{}: attribute {} is no single value; it is damaged, or not a store",
                     path_.string(), name);
  }
}

std::string SnapshotFile::what(const char* action, const std::string& name) const {
  return std::string(action) + " " + name + " of " + path_.string();
}

}  // namespace ropesweep
