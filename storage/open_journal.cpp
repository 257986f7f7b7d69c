// Opening for writing, and the reader's view.
#include "storage/open_journal.h"

#include <system_error>

#include "experiments/error.h"
#include "experiments/output_file.h"
#include "storage/snapshot.h"
#include "storage/store.h"

namespace ropesweep {
namespace {

namespace fs = std::filesystem;

/// A journal shorter than the published file says was acknowledged has lost results.
void check_against_snapshot(const fs::path& h5_file, const Journal& journal) {
  if (!fs::exists(h5_file)) return;
  SnapshotStamp stamp;
  try {
    stamp = read_snapshot_stamp(h5_file);
  } catch (const Error&) {
    return;  // a damaged file is rebuilt by the next publish; a newer one is told by its journal
  }
  if (stamp.journal == journal.identity() && stamp.journal_bytes > journal.durable_bytes()) {
    throw_transient_error(
        "{}: ends at byte {}, though {} holds results up to byte {}: its end is damaged; "
        "'ropesweep "
        "check --repair' brings them back",
        (store_directory(h5_file) / "journal").string(), journal.durable_bytes(), h5_file.string(),
        stamp.journal_bytes);
  }
}

}  // namespace

fs::path store_directory(const fs::path& h5_file) {
  if (h5_file.extension() != ".h5") {
    throw_user_error("{}: a store's name ends in .h5", h5_file.string());
  }
  return fs::path(h5_file).replace_extension(".d");
}

void make_directory(const fs::path& directory) {
  std::error_code error;
  if (!fs::create_directories(directory, error) && error) {
    throw_file_error(directory, "be created", error.value());
  }
  sync_directory(directory.parent_path());
}

RecordReader applying_to(StoreState& state, const fs::path& journal_file) {
  return [&state, source = journal_file.string()](std::span<const uint8_t> record) {
    state.apply(decode_event(record, source));
  };
}

nlohmann::json imported_event(const StoreContents& contents) {
  return {{"event", "imported"},
          {"cells", contents.cells},
          {"fine_tunes", contents.fine_tunes},
          {"attempts", contents.attempts},
          {"provenance", contents.provenance.text}};
}

void begin_journal(const fs::path& file, const StoreContents& contents) {
  const fs::path beside = file.string() + ".new";
  const auto journal = Journal::create(beside);
  journal->append(encode_event(imported_event(contents)));
  journal->sync();
  std::error_code error;
  fs::rename(beside, file, error);
  if (error) throw_file_error(file, "be replaced", error.value());
  sync_directory(file.parent_path());
}

bool open_or_import(const fs::path& h5_file, const fs::path& directory,
                    std::unique_ptr<Journal>& journal, StoreState& state) {
  const fs::path file = directory / "journal";
  const bool has_journal = fs::exists(file);
  if (!has_journal && !fs::exists(h5_file)) {
    journal = Journal::create(file);
    return true;
  }
  if (!has_journal) begin_journal(file, read_snapshot(h5_file));
  // A journal whose end is damaged must not be cut before that is known.
  journal = Journal::open(file, applying_to(state, file), [&h5_file](const Journal& opened) {
    check_against_snapshot(h5_file, opened);
  });
  return false;
}

StoreContents read_store(const fs::path& h5_file) {
  const fs::path file = store_directory(h5_file) / "journal";
  if (!fs::exists(file)) {
    if (!fs::exists(h5_file)) {
      throw_user_error("{}: no such store; 'ropesweep run' makes one", h5_file.string());
    }
    return read_snapshot(h5_file);
  }
  StoreState state;
  const JournalScan scan = scan_journal(file, applying_to(state, file));
  if (!scan.gaps.empty()) {
    throw_transient_error(
        "{}: bytes {} to {} are damaged; see 'ropesweep check', which repairs with --repair",
        file.string(), scan.gaps.front().from, scan.gaps.front().to);
  }
  return std::move(state).release();
}

}  // namespace ropesweep
