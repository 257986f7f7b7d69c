// A published file open for reading, its tables by rows: its values are in memory, not the file.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "experiments/owned_descriptor.h"
#include "storage/handle.h"
#include "storage/schema.h"
#include "storage/store.h"

namespace ropesweep {

/// The file that had the name when this was made: a rename under way does not matter, and no lock
/// of HDF5's is taken. Errors of all members: transient, naming file and place; user error where
/// the file is no store or claims what it can't hold.
class SnapshotFile {
 public:
  /// Checks the seal and the schema version. Errors: also NewerStore (snapshot.h).
  explicit SnapshotFile(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return path_; }

  /// Attributes of the root.
  int64_t integer(const char* name) const;
  std::string text(const char* name) const;
  /// Names of all text attributes.
  std::vector<std::string> text_attributes() const;

  bool has(const std::string& name) const;
  /// Whether it is a group with something in it.
  bool has_members(const std::string& name) const;

  /// A group of columns, equally long.
  class Rows {
   public:
    size_t size() const { return rows_; }
    /// Optional columns that the file lacks are all empty texts or zeros.
    Table read(size_t first, size_t count) const;

   private:
    friend class SnapshotFile;
    explicit Rows(const SnapshotFile& file) : file_(file) {}

    struct Source {
      ColumnSpec spec;
      std::string name;               ///< with the group's
      std::optional<Hdf5Dataset> in;  ///< none: the file lacks it
    };
    Column column(const Source& source, size_t first, size_t count) const;

    const SnapshotFile& file_;
    std::vector<Source> sources_;
    size_t rows_ = 0;
  };
  Rows rows(const std::string& name, const std::vector<ColumnSpec>& specs) const;
  Table table(const std::string& name, const std::vector<ColumnSpec>& specs) const;

 private:
  Hdf5File open() const;
  bool has_attribute(const char* name) const { return H5Aexists(file_, name) > 0; }
  bool is_text(const std::string& name) const;
  void check_single(hid_t attribute, const char* name) const;
  size_t row_count(hid_t dataset, const std::string& name) const;
  std::string what(const char* action, const std::string& name) const;

  std::filesystem::path path_;
  OwnedDescriptor descriptor_;
  uint64_t bytes_;
  Hdf5File file_;
};

}  // namespace ropesweep
