// Journal and published file, each by itself and one against the other.
#include "storage/inspection.h"

#include <algorithm>
#include <cmath>
#include <system_error>

#include "storage/compaction.h"
#include "storage/journal_format.h"
#include "storage/lock.h"
#include "storage/open_journal.h"
#include "storage/store.h"
#include "storage/tables.h"

namespace ropesweep {
namespace {

namespace fs = std::filesystem;

void read_published(Inspection& found) {
  const StorePaths& paths = found.paths;
  if (!fs::exists(paths.h5_file)) {
    found.stale_published = true;
    if (!found.in_use) found.find("{}: missing, not published yet", paths.h5_file.string());
    return;
  }
  try {
    found.published = read_stamped_snapshot(paths.h5_file, Details::all);
  } catch (const NewerStore&) {
    throw;
  } catch (const Error& error) {
    found.find("{}", error.what());
    found.damaged_published = true;
  }
}

/// A value of a column as text.
std::string shown(const Column& column, size_t row) {
  return column.is_text ? "\"" + column.texts[row] + "\"" : fmt::format("{}", column.numbers[row]);
}

bool same_value(const Column& a, const Column& b, size_t row) {
  if (a.is_text) return a.texts[row] == b.texts[row];
  const double x = a.numbers[row], y = b.numbers[row];
  return x == y || (std::isnan(x) && std::isnan(y));
}

/// What is different between a table as published and as the journal has it.
struct Difference {
  size_t rows = 0, expected_rows = 0;
  size_t values = 0;
  std::string first;
};

/// Some rows of both, which come after those compared before. Once they have had unequal numbers of
/// rows they are only counted.
void compare(const Table& published, const Table& expected, Difference& difference) {
  const size_t before = difference.rows;
  const bool aligned = before == difference.expected_rows;
  difference.rows += row_count(published);
  difference.expected_rows += row_count(expected);
  if (!aligned || row_count(published) != row_count(expected)) return;
  for (size_t i = 0; i < expected.size(); ++i) {
    for (size_t row = 0; row < row_count(expected); ++row) {
      if (same_value(published[i], expected[i], row)) continue;
      if (difference.values++ > 0) continue;
      difference.first = fmt::format("row {} ({}), column {}: {}, the journal says {}",
                                     before + row, shown(expected[0], row), expected[i].name,
                                     shown(published[i], row), shown(expected[i], row));
    }
  }
}

/// In blocks: two tables of a million rows would be in memory otherwise. Both hold the same records
/// in the same order, or they differ.
void compare_tables(Inspection& found, const StoreContents& journal) {
  constexpr size_t kBlock = 1024;
  const StoreContents& published = found.published->contents;
  for (const std::string& table : table_names()) {
    const std::string place = found.paths.h5_file.string() + ": /" + table;
    const size_t records = std::max(record_count(published, table), record_count(journal, table));
    Difference difference;
    bool shifted = false;
    for (size_t at = 0; at < records; at += kBlock) {
      compare(table_of(published, table, at, kBlock), table_of(journal, table, at, kBlock),
              difference);
      shifted = shifted || difference.rows != difference.expected_rows;
    }
    if (shifted && difference.rows == difference.expected_rows) {
      found.find("{} differs from the journal: its rows are of other records", place);
      found.damaged_published = true;
    } else if (shifted) {
      found.find("{} differs from the journal: {} rows, the journal has {}", place, difference.rows,
                 difference.expected_rows);
      found.damaged_published = true;
    } else if (difference.values > 0) {
      found.find("{} differs from the journal in {} values, first in {}", place, difference.values,
                 difference.first);
      found.damaged_published = true;
    }
  }
}

/// Scans what lies between two bytes into the state.
JournalScan scan_part(Inspection& found, int64_t from, int64_t to) {
  return scan_journal(found.paths.journal, applying_to(found.state, found.paths.journal),
                      {.from = from, .to = to, .any_header = true});
}

/// The journal up to where the file was published, a comparison there, and the rest.
void read_both(Inspection& found) {
  const int64_t covered = found.published ? found.published->stamp.journal_bytes : 0;
  JournalScan scan = scan_part(found, 0, 0);  // the header
  if (found.published) {
    found.same_journal = scan.damaged_header || found.published->stamp.journal == scan.identity;
  }
  const bool splits = found.same_journal && covered > scan.valid_bytes &&
                      covered <= static_cast<int64_t>(fs::file_size(found.paths.journal));
  if (splits) {
    const JournalScan first = scan_part(found, 0, covered);
    if (first.gaps.empty() && first.valid_bytes == covered) {
      compare_tables(found, found.state.contents());
    }
    scan.gaps = first.gaps;
    scan.valid_bytes = first.valid_bytes;
    // Damage that reaches up to there is told with the rest, from where the last good frame ends.
  }
  const JournalScan rest = scan_part(found, splits ? scan.valid_bytes : 0, INT64_MAX);
  scan.gaps.insert(scan.gaps.end(), rest.gaps.begin(), rest.gaps.end());
  scan.valid_bytes = rest.valid_bytes;
  scan.file_bytes = rest.file_bytes;
  found.scan = scan;
}

void judge_journal(Inspection& found) {
  const std::string journal = found.paths.journal.string();
  const JournalScan& scan = *found.scan;
  if (scan.damaged_header) {
    found.find("{}: bytes 0 to {}, the header, are damaged", journal, kHeaderBytes);
    found.must_rebuild = true;
  }
  for (const JournalGap& gap : scan.gaps) {
    found.find("{}: bytes {} to {} are damaged, with good records after them", journal, gap.from,
               gap.to);
    found.must_rebuild = true;
  }
  // While a run goes on, a frame may be on its way.
  if (scan.file_bytes > scan.valid_bytes && !found.in_use) {
    found.torn = true;
    found.find("{}: a torn tail of {} bytes (a write that was interrupted; never acknowledged)",
               journal, scan.file_bytes - scan.valid_bytes);
  }
}

void judge_published(Inspection& found) {
  if (!found.published || !found.scan) return;
  const std::string file = found.paths.h5_file.string();
  const SnapshotStamp& stamp = found.published->stamp;
  if (!found.same_journal) {
    const std::optional<JournalBefore> before = journal_before(found.state.contents());
    found.stale_published = true;
    if (before && before->identity == stamp.journal && stamp.journal_bytes <= before->bytes) {
      found.note("{}: published before the journal was written anew; the next publish brings it up",
                 file);
    } else if (!found.in_use) {
      found.find("{}: published from another journal than {}", file, found.paths.journal.string());
      found.damaged_published = true;
    }
    return;
  }
  const int64_t end = found.scan->valid_bytes;
  if (stamp.journal_bytes > end) {
    found.find("{}: ends at byte {}, but {} holds results up to byte {}: its end is damaged",
               found.paths.journal.string(), end, file, stamp.journal_bytes);
    found.must_rebuild = true;
  } else if (stamp.journal_bytes < end && !found.in_use) {
    found.stale_published = true;
    found.note("{}: published before the last {} bytes of the journal", file,
               end - stamp.journal_bytes);
  }
}

}  // namespace

StorePaths::StorePaths(const fs::path& file)
    : h5_file(file), directory(store_directory(file)), journal(directory / "journal") {}

Inspection inspect_store(const fs::path& h5_file, bool lock_is_ours) {
  Inspection found(h5_file);
  if (!lock_is_ours) {
    const std::optional<LockHolder> holder = lock_holder(found.paths.directory);
    found.in_use = holder.has_value();
    if (holder) {
      found.note("{}: in use by process {} on {}; what it has not published yet is no finding",
                 found.paths.directory.string(), holder->pid, holder->host);
    }
  }
  found.state.keep_unplanned_results();
  read_published(found);
  if (!fs::exists(found.paths.journal)) {
    found.find("{}: missing; {}", found.paths.journal.string(),
               found.published ? h5_file.string() + " holds what was published"
                               : "and no published file tells what it held");
    found.must_rebuild = true;
  } else {
    read_both(found);
    judge_journal(found);
    judge_published(found);
  }
  inspect_files(found);
  return found;
}

}  // namespace ropesweep
