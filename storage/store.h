// A store open for writing: journal first, then memory, then now and then the published NAME.h5.
// One process at a time, guarded by NAME.d/lock.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "storage/results.h"

namespace ropesweep {

class Store {
 public:
  /// Opens or creates NAME.h5 with NAME.d/ beside it, takes the lock, replays the journal (a torn
  /// tail is cut). Errors: user error when another process holds the lock (names host and pid), or
  /// the store is of a newer schema version; transient for the machine's faults (disk full, …).
  static std::unique_ptr<Store> open(const std::filesystem::path& h5_file);
  virtual ~Store() = default;

  virtual const StoreContents& contents() const = 0;
  virtual const std::filesystem::path& directory() const = 0;  ///< NAME.d

  // Each of these is buffered, applied to contents() at once, and durable after the next sync().
  /// Adds cells and fine-tunes that the store lacks, as pending; what it has keeps its results.
  virtual void plan(const PackedVector<Cell>& cells, const std::vector<FineTune>& fine_tunes) = 0;
  virtual void provenance(const std::string& key, const std::string& value) = 0;
  virtual void attempt_started(const AttemptRecord& attempt) = 0;
  /// What a running fine-tune has reached, with the steps since the last call (Losses). The
  /// attempt's end replaces it.
  virtual void losses(const FineTuneOutcome& so_far) = 0;
  /// The attempt's end, and with it the outcome of its cells or its fine-tune. `outcome` finished
  /// or diverged: those become final. Failed: `final_failure` says whether they stay failed or are
  /// pending again.
  virtual void attempt_ended(const AttemptRecord& attempt, const std::vector<std::string>& cells,
                             const Outcome& outcome, bool final_failure) = 0;
  /// A cell or fine-tune skipped since something it needs failed.
  virtual void skipped(const std::string& id, const std::string& reason) = 0;
  /// Cells or fine-tunes to run again: status pending, figures gone, attempts kept in the record.
  virtual void rerun(const std::vector<std::string>& ids) = 0;

  /// Group commit: all buffered records written and fsynced. Errors: transient (naming the file);
  /// nothing that was acknowledged is lost, and a later sync may succeed.
  virtual void sync() = 0;
  /// Writes NAME.h5 as a whole beside itself, syncs, renames. Errors: transient, as sync().
  virtual void publish() = 0;
  /// publish() when something changed, at most every few seconds and for a small share of the time.
  /// What fails is said once and tried again later: the journal has all.
  virtual void publish_if_due() = 0;

  /// From now on `meanwhile` is called some times a second while a call waits for the disk (a
  /// network file system may stall for minutes). It must not use the store.
  virtual void while_waiting(const std::function<void()>& meanwhile) {
    static_cast<void>(meanwhile);
  }
  /// Writes a small file of NAME.d that is only a help (live.json), with the same patience.
  virtual void write_help(const std::string& name, const std::string& text) {
    static_cast<void>(name), static_cast<void>(text);
  }
};

/// NAME.d of NAME.h5. Errors: user error when the name does not end in .h5.
std::filesystem::path store_directory(const std::filesystem::path& h5_file);

/// What a reader sees without the lock: the journal's synced records; a published file that was
/// copied without its NAME.d is read by itself. Errors: user error when the file is no store, or of
/// a newer schema version.
StoreContents read_store(const std::filesystem::path& h5_file);

/// Whether a reader wants curves and samples, which are most of a store.
enum class Details { all, none };

/// The same in every column of every table, sooner: the published file and what the journal has
/// after it. Without canonical texts and recipes' settings, which no table shows, where those would
/// have to be read from the journal. Without details: of curves and samples whatever costs nothing.
StoreContents read_results(const std::filesystem::path& h5_file, Details details = Details::all);

/// Rows of a table as text-or-number columns, for query, report and tests: the columns of
/// interface.md.
struct Column {
  std::string name;
  bool is_text = false, is_integer = false;
  std::vector<double> numbers;
  std::vector<std::string> texts;
};
using Table = std::vector<Column>;
/// make_table(read_results(h5_file), table), without a detour where the published file has it all.
Table read_table(const std::filesystem::path& h5_file, const std::string& table);
/// `table`: cells | fine_tunes | attempts | curves | samples.
Table make_table(const StoreContents& contents, const std::string& table);

/// What `check` found; `repaired` when asked and possible.
struct CheckReport {
  std::vector<std::string> findings;  ///< empty: all is well
  std::vector<std::string> notes;     ///< good to know, no damage: weights that are gone
  std::vector<std::string> actions;   ///< what a repair did, what it kept aside, what is lost
  bool repaired = false;
};
CheckReport check_store(const std::filesystem::path& h5_file, bool repair);

}  // namespace ropesweep
