// Opening for writing, and the reader's view.
#include "storage/open_journal.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>

#include <system_error>

#include "experiments/error.h"
#include "experiments/output_file.h"
#include "storage/compaction.h"
#include "storage/journal_format.h"
#include "storage/keep_aside.h"
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

/// A tail that is as long as it says was no torn write: its bytes are kept before they are cut.
void keep_suspect_tail(const fs::path& file, const Journal& journal) {
  if (journal.cut_bytes() < static_cast<int64_t>(kFrameHeaderBytes)) return;
  const int64_t from = journal.durable_bytes();
  uint8_t header[kFrameHeaderBytes];
  read_at(open_file(file, O_RDONLY), from, header, file);
  const auto room = static_cast<uint64_t>(journal.cut_bytes()) - kFrameHeaderBytes;
  if (get_u32(header) != kFrameMagic || get_u64(header + kFrameLengthOffset) > room) return;
  const fs::path name = free_name(file.parent_path(), "journal.cut");
  keep_tail(file, from, name);
  spdlog::warn("{}: the last record is damaged, or was never written whole; it is kept as {}",
               file.string(), name.string());
}

/// Writes the journal anew where that pays. Failing (a full disk) leaves the old one, which is as
/// good.
void compact(const fs::path& h5_file, const fs::path& file, bool has_older_records,
             std::unique_ptr<Journal>& journal, StoreState& state) {
  if (!has_older_records && !worth_compacting(journal->durable_bytes(), state.contents())) return;
  try {
    // A published file must be known as older, not foreign: one step back is remembered.
    if (fs::exists(h5_file) && read_snapshot_stamp(h5_file).journal != journal->identity()) return;
    const JournalBefore before = {journal->identity(), journal->durable_bytes()};
    state.apply({{"event", "provenance"}, {"key", kJournalBefore}, {"value", to_text(before)}});
    journal = write_journal(file, state.contents());
    spdlog::info("{}: written anew, {} bytes in place of {}", file.string(),
                 journal->durable_bytes(), before.bytes);
  } catch (const Error& error) {
    spdlog::warn("{}: not written anew, and in use as it is: {}", file.string(), error.what());
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
  sync_parent(directory);
}

RecordReader applying_to(StoreState& state, const fs::path& journal_file) {
  return [&state, source = journal_file.string()](std::span<const uint8_t> record) {
    state.apply(decode_event(record, source));
  };
}

bool open_or_import(const fs::path& h5_file, const fs::path& directory,
                    std::unique_ptr<Journal>& journal, StoreState& state) {
  const fs::path file = directory / "journal";
  const bool has_journal = fs::exists(file);
  if (!has_journal && !fs::exists(h5_file)) {
    journal = Journal::create(file);
    return true;
  }
  if (!has_journal) write_journal(file, read_snapshot(h5_file));
  // A journal whose end is damaged must not be cut before that is known.
  bool has_older_records = false;
  const RecordReader apply = applying_to(state, file);
  const RecordReader reader = [&](std::span<const uint8_t> record) {
    has_older_records = has_older_records || event_version(record) < kEventVersion;
    apply(record);
  };
  journal = Journal::open(file, reader, [&](const Journal& opened) {
    check_against_snapshot(h5_file, opened);
    keep_suspect_tail(file, opened);
  });
  compact(h5_file, file, has_older_records, journal, state);
  return false;
}

StoreContents read_results(const fs::path& h5_file, Details details) {
  const fs::path file = store_directory(h5_file) / "journal";
  if (!fs::exists(file) || !fs::exists(h5_file)) return read_store(h5_file);
  try {
    const JournalHead journal = read_journal_head(file);
    Snapshot published = read_stamped_snapshot(h5_file, details);
    const int64_t covered = published.stamp.journal_bytes;
    if (published.stamp.journal == journal.identity && covered <= journal.file_bytes) {
      StoreState state(std::move(published.contents));
      if (scan_journal(file, applying_to(state, file), {.from = covered}).gaps.empty()) {
        return std::move(state).release();
      }
    }
  } catch (const Error&) {
    // Whatever is wrong with the published file: the journal has all of it, or says what is wrong.
  }
  return read_store(h5_file);
}

Table read_table(const fs::path& h5_file, const std::string& table) {
  const fs::path file = store_directory(h5_file) / "journal";
  const bool is_whole = table == "cells" || table == "fine_tunes" || table == "attempts";
  if (is_whole && fs::exists(file) && fs::exists(h5_file)) {
    try {
      const JournalHead journal = read_journal_head(file);
      std::optional<SnapshotTable> published = read_snapshot_table(h5_file, table);
      if (published && published->stamp.journal == journal.identity &&
          published->stamp.journal_bytes == journal.file_bytes) {
        return std::move(published->table);
      }
    } catch (const Error&) {
      // As in read_results: the journal says what is wrong, or has all of it.
    }
  }
  return make_table(read_results(h5_file), table);
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
