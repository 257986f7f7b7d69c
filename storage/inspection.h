// What there is of a store, and what is wrong with it: looked at by `check`, acted on by
// `check --repair`.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "storage/journal.h"
#include "storage/snapshot.h"
#include "storage/state.h"

namespace ropesweep {

struct StorePaths {
  explicit StorePaths(const std::filesystem::path& file);
  std::filesystem::path h5_file, directory, journal;
};

struct Inspection {
  explicit Inspection(const std::filesystem::path& h5_file) : paths(h5_file) {}

  StorePaths paths;
  bool in_use = false;  ///< a run goes on: what it has not finished yet is no finding

  // The journal: the scan of its good frames, and what they add up to.
  std::optional<JournalScan> scan;  ///< nothing: there is none
  StoreState state;
  bool must_rebuild = false;  ///< it can't be opened as it is, or is not there
  bool torn = false;          ///< its end is cut off

  // The published file.
  std::optional<Snapshot> published;  ///< nothing: there is none, or it is damaged
  bool damaged_published = false;     ///< it can't be read, or says what the journal does not
  bool stale_published = false;       ///< older than the journal, or not there
  bool same_journal = false;          ///< published from this journal

  std::vector<std::string> damaged_fine_tunes;   ///< ids: a file is not what was recorded
  std::vector<std::filesystem::path> leftovers;  ///< files of writes that were interrupted
  std::vector<std::string> findings, notes;

  template <typename... Args>
  void find(fmt::format_string<Args...> format, Args&&... args) {
    findings.push_back(fmt::format(format, std::forward<Args>(args)...));
  }
  template <typename... Args>
  void note(fmt::format_string<Args...> format, Args&&... args) {
    notes.push_back(fmt::format(format, std::forward<Args>(args)...));
  }
};

/// Looks at everything; changes nothing. `lock_is_ours`: no run can be going on. Errors: user error
/// where a part is of a newer version.
Inspection inspect_store(const std::filesystem::path& h5_file, bool lock_is_ours);

/// The part of it that looks at what fine-tunes and evaluations left (inspect_files.cpp).
void inspect_files(Inspection& found);

/// Makes a sound store of what was found; what it replaces is kept beside. The lock must be held.
/// Returns what it did and what is lost, a line each. Errors: user error when nothing sound is left
/// to build from; transient ones of the disk.
std::vector<std::string> repair_store(Inspection& found);

}  // namespace ropesweep
