// Reading a published file back: for a store that was copied without its journal, and for `check`.
#include <algorithm>

#include "storage/file_seal.h"
#include "storage/handle.h"
#include "storage/migrations.h"
#include "storage/posix_file.h"
#include "storage/snapshot.h"
#include "storage/tables.h"

namespace ropesweep {
namespace {

/// A published file, read into memory first: no HDF5 file lock, and a rename under way does not
/// matter.
class SnapshotFile {
 public:
  explicit SnapshotFile(const std::filesystem::path& path)
      : path_(path), image_(read_file(path)), file_(open(path, image_)) {
    const int64_t version = has_attribute("schema_version") ? integer("schema_version") : 0;
    if (version < 1) throw_user_error("{}: an HDF5 file, but no ropesweep store", path.string());
    if (version > kSchemaVersion) {
      throw NewerStore(fmt::format(
          "{}: written by a newer ropesweep (schema version {}, this one reads up to {}); use that "
          "version",
          path.string(), version, kSchemaVersion));
    }
  }

  bool has_attribute(const char* name) const { return H5Aexists(file_, name) > 0; }

  int64_t integer(const char* name) const {
    const Hdf5Attribute attribute(H5Aopen(file_, name, H5P_DEFAULT), what("open attribute", name));
    check_single(attribute, name);
    int64_t value = 0;
    hdf5_check(H5Aread(attribute, H5T_NATIVE_INT64, &value), what("read attribute", name));
    return value;
  }

  std::string text(const char* name) const {
    const Hdf5Attribute attribute(H5Aopen(file_, name, H5P_DEFAULT), what("open attribute", name));
    check_single(attribute, name);
    const Hdf5Type type = hdf5_text_type();
    char* value = nullptr;
    hdf5_check(H5Aread(attribute, type, &value), what("read attribute", name));
    std::string result = value == nullptr ? "" : value;
    H5free_memory(value);
    return result;
  }

  Table table(const std::string& name, const std::vector<ColumnSpec>& specs) const {
    Table result;
    for (const ColumnSpec& spec : specs) {
      const bool is_there = !spec.optional || has(name + "/" + spec.name);
      result.push_back(is_there ? column(name, spec) : empty_column(spec));
    }
    for (size_t i = 0; i < specs.size(); ++i) {  // required ones come first
      if (!specs[i].optional || has(name + "/" + specs[i].name)) continue;
      if (result[i].is_text) {
        result[i].texts.resize(row_count(result));
      } else {
        result[i].numbers.resize(row_count(result));
      }
    }
    for (const Column& each : result) {
      const size_t rows = each.is_text ? each.texts.size() : each.numbers.size();
      if (rows != row_count(result)) {
        throw_transient_error("{}: the columns of /{} differ in length; see 'ropesweep check'",
                              path_.string(), name);
      }
    }
    return result;
  }

  bool has(const std::string& name) const {
    return H5Lexists(file_, name.c_str(), H5P_DEFAULT) > 0;
  }

  /// Names of all text attributes of the root.
  std::vector<std::string> text_attributes() const {
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

 private:
  static Hdf5File open(const std::filesystem::path& path, std::vector<uint8_t>& image) {
    if (check_seal(image) == Seal::broken) {
      throw_transient_error(
          "{}: damaged (its checksum does not hold); 'ropesweep check --repair' rebuilds it from "
          "the journal",
          path.string());
    }
    const Hdf5Properties access(H5Pcreate(H5P_FILE_ACCESS), "prepare a file");
    hdf5_check(H5Pset_fapl_core(access, size_t{1} << 20, 0), "prepare a file");
    hdf5_check(H5Pset_file_image(access, image.data(), image.size()), "prepare a file");
    // HDF5 refuses an image under the name of a file that exists.
    const std::string name = path.string() + " (in memory)";
    const hid_t id = H5Fopen(name.c_str(), H5F_ACC_RDONLY, access);
    if (id < 0) {
      throw_user_error("{}: not an HDF5 file, or damaged; 'ropesweep check --repair' rebuilds it",
                       path.string());
    }
    return Hdf5File(id, "open");
  }

  /// The reader has room for one value.
  void check_single(hid_t attribute, const char* name) const {
    const Hdf5Space space(H5Aget_space(attribute), what("open attribute", name));
    if (H5Sget_simple_extent_npoints(space) != 1) {
      throw_user_error("{}: attribute {} is no single value; it is damaged, or not a store",
                       path_.string(), name);
    }
  }

  std::string what(const char* action, const std::string& name) const {
    return std::string(action) + " " + name + " of " + path_.string();
  }

  bool is_text(const std::string& name) const {
    const Hdf5Attribute attribute(H5Aopen(file_, name.c_str(), H5P_DEFAULT), "open " + name);
    const Hdf5Type type(H5Aget_type(attribute), "read the type of " + name);
    return H5Tget_class(type) == H5T_STRING;
  }

  Column column(const std::string& table_name, const ColumnSpec& spec) const {
    const std::string name = "/" + table_name + "/" + spec.name;
    const Hdf5Dataset dataset(H5Dopen2(file_, name.c_str(), H5P_DEFAULT), what("open", name));
    const Hdf5Space space(H5Dget_space(dataset), what("open", name));
    const size_t rows =
        static_cast<size_t>(std::max<hssize_t>(H5Sget_simple_extent_npoints(space), 0));
    if (rows > image_.size()) {  // believed, it would be memory for as many
      throw_user_error("{}: {} claims {} rows, more than the file has bytes", path_.string(), name,
                       rows);
    }
    Column result = empty_column(spec);
    if (rows == 0) return result;
    if (result.is_text) {
      const Hdf5Type type = hdf5_text_type();
      std::vector<char*> texts(rows, nullptr);
      hdf5_check(H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, texts.data()),
                 what("read", name));
      result.texts.reserve(rows);
      for (const char* text : texts) result.texts.emplace_back(text == nullptr ? "" : text);
      H5Dvlen_reclaim(type, space, H5P_DEFAULT, texts.data());
    } else {
      result.numbers.resize(rows);
      hdf5_check(
          H5Dread(dataset, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, result.numbers.data()),
          what("read", name));
    }
    return result;
  }

  std::filesystem::path path_;
  std::vector<uint8_t> image_;
  Hdf5File file_;
};

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
  return read_stamped_snapshot(h5_file).contents;
}

Snapshot read_stamped_snapshot(const std::filesystem::path& h5_file) {
  const Hdf5Quiet quiet;
  const SnapshotFile file(h5_file);
  const auto table = [&file](const std::string& name) {
    return file.table(name, table_columns(name));
  };
  const auto internal = [&file](const std::string& name) {
    return file.table("internal/" + name, internal_columns(name));
  };
  StoreContents contents = contents_from(table("cells"), internal("cells"), table("fine_tunes"),
                                         internal("fine_tunes"), table("attempts"));
  for (FineTuneRecord& record : contents.fine_tunes) {
    const std::string name = "curves/" + record.fine_tune.id;
    if (file.has(name))
      record.outcome.curve = curve_from(file.table(name, columns_after_first("curves")));
  }
  for (size_t i = 0; i < contents.cells.size(); ++i) {
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
