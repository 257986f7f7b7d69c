// How a store's contents come to be: from its journal, or, when that is missing, from the published
// file. Shared by the writer, the readers and `check`.
#pragma once

#include <filesystem>
#include <memory>

#include "storage/journal.h"
#include "storage/state.h"

namespace ropesweep {

/// Creates NAME.d (and what leads to it), durable on return. Errors: transient, naming it.
void make_directory(const std::filesystem::path& directory);

/// A reader of records that decodes them and applies them to `state`.
RecordReader applying_to(StoreState& state, const std::filesystem::path& journal_file);

/// Opens NAME.d/journal into `state`. There is none: begins one, holding what the published file
/// tells, if that is there. One that holds much that is obsolete, or records of an older version,
/// is written anew (compaction.h). Returns whether the store is new (neither was there). The lock
/// must be held. Errors: user error for a newer version, or a file that is no store; transient when
/// the journal is damaged or ends before what the published file holds.
bool open_or_import(const std::filesystem::path& h5_file, const std::filesystem::path& directory,
                    std::unique_ptr<Journal>& journal, StoreState& state);

}  // namespace ropesweep
