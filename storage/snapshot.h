// NAME.h5: the whole store as one HDF5 file in the published schema (docs/store.md). It is made
// beside and put in place by a rename, so a reader finds a complete file at any moment.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "experiments/error.h"
#include "storage/store.h"

namespace ropesweep {

/// Where in which journal a snapshot stands: it holds all up to there.
struct SnapshotStamp {
  std::string journal;        ///< identity; empty: made from no journal
  int64_t journal_bytes = 0;  ///< durable bytes of it
};

/// Makes the file anew, with some tens of MiB of memory whatever its size. Errors: transient,
/// naming the file; the old one stays then.
void write_snapshot(const std::filesystem::path& h5_file, const StoreContents& contents,
                    const SnapshotStamp& stamp);

/// The error of a file whose schema version is one that this program doesn't know: nothing is wrong
/// with the file.
struct NewerStore : Error {
  explicit NewerStore(const std::string& message) : Error(FailureKind::user, message) {}
};

/// Errors: user error when the file is no store, NewerStore when it is of a newer schema version;
/// transient when unreadable.
SnapshotStamp read_snapshot_stamp(const std::filesystem::path& h5_file);

struct Snapshot {
  SnapshotStamp stamp;
  StoreContents contents;
};

/// As read_snapshot, with the stamp.
Snapshot read_stamped_snapshot(const std::filesystem::path& h5_file, Details details);

/// One of the tables cells, fine_tunes, attempts as the file has it, with the stamp; nothing where
/// the file is of an older schema, whose contents are upgraded as a whole. Errors: as above.
struct SnapshotTable {
  SnapshotStamp stamp;
  Table table;
};
std::optional<SnapshotTable> read_snapshot_table(const std::filesystem::path& h5_file,
                                                 const std::string& name);

/// All tables, curves and samples (recipes by name only, no canonical texts). Errors: as above.
StoreContents read_snapshot(const std::filesystem::path& h5_file);

}  // namespace ropesweep
