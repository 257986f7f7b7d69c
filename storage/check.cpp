// `check`: is all that was acknowledged there, and does the published file say the same?
#include <cmath>
#include <optional>
#include <system_error>

#include "experiments/output_file.h"
#include "storage/lock.h"
#include "storage/open_journal.h"
#include "storage/snapshot.h"
#include "storage/store.h"
#include "storage/tables.h"

namespace ropesweep {
namespace {

namespace fs = std::filesystem;

class Checker {
 public:
  explicit Checker(const fs::path& h5_file)
      : h5_file_(h5_file),
        directory_(store_directory(h5_file)),
        journal_file_(directory_ / "journal") {}

  /// Fills the findings; nothing is changed. What a run under way has not finished is no finding.
  void inspect(bool lock_is_ours) {
    in_use_ = !lock_is_ours && lock_holder(directory_).has_value();
    read_journal();
    read_published();
    if (scan_ && published_ && stamp_.journal == scan_->identity) compare();
    if (scan_ && published_ && stamp_.journal != scan_->identity && !in_use_) {
      find("{}: published from another journal than {}", h5_file_.string(), journal_file_.string());
    }
    look_for_checkpoints();
    std::error_code ignored;
    const fs::path beside = h5_file_.string() + ".new";
    if (!in_use_ && fs::exists(beside, ignored)) {
      find("{}: left behind by a publish that was interrupted", beside.string());
    }
  }

  /// Makes a store of what can be read. The lock must be held.
  void repair() {
    const StoreContents best = salvage();
    if (must_rebuild_) {
      if (fs::exists(journal_file_)) keep_damaged_journal();
      begin_journal(journal_file_, best);
    }
    std::error_code ignored;
    fs::remove(h5_file_.string() + ".new", ignored);
  }

  const std::vector<std::string>& findings() const { return findings_; }
  const std::vector<std::string>& notes() const { return notes_; }

 private:
  template <typename... Args>
  void find(fmt::format_string<Args...> format, Args&&... args) {
    findings_.push_back(fmt::format(format, std::forward<Args>(args)...));
  }

  void read_journal() {
    if (!fs::exists(journal_file_)) {
      find("{}: missing; {} holds what was published", journal_file_.string(), h5_file_.string());
      return;
    }
    try {
      scan_ = scan_journal(journal_file_, applying_to(state_, journal_file_));
    } catch (const Error& error) {
      if (error.kind() == FailureKind::user) throw;  // newer, or no journal: nothing to repair
      find("{}", error.what());
      must_rebuild_ = true;
      return;
    }
    for (const JournalGap& gap : scan_->gaps) {
      find("{}: bytes {} to {} are damaged, with good records after them", journal_file_.string(),
           gap.from, gap.to);
      must_rebuild_ = true;
    }
    // While a run goes on, a frame may be on its way.
    if (scan_->file_bytes > scan_->valid_bytes && !in_use_) {
      find("{}: a torn tail of {} bytes (a write that was interrupted; never acknowledged)",
           journal_file_.string(), scan_->file_bytes - scan_->valid_bytes);
    }
  }

  void read_published() {
    if (!fs::exists(h5_file_)) {
      if (!in_use_) find("{}: missing, not published yet", h5_file_.string());
      return;
    }
    try {
      stamp_ = read_snapshot_stamp(h5_file_);
      published_ = read_snapshot(h5_file_);
    } catch (const Error& error) {
      find("{}", error.what());
    }
  }

  void compare() {
    if (stamp_.journal_bytes > scan_->valid_bytes) {
      find("{}: ends at byte {}, but {} holds results up to byte {}: its end is damaged",
           journal_file_.string(), scan_->valid_bytes, h5_file_.string(), stamp_.journal_bytes);
      must_rebuild_ = true;
    } else if (stamp_.journal_bytes < scan_->valid_bytes) {
      if (!in_use_) {
        find("{}: published before the last {} bytes of the journal", h5_file_.string(),
             scan_->valid_bytes - stamp_.journal_bytes);
      }
    } else if (scan_->gaps.empty()) {
      for (const std::string& table : table_names()) {
        if (!same(make_table(*published_, table), make_table(state_.contents(), table))) {
          find("{}: /{} differs from the journal", h5_file_.string(), table);
        }
      }
    }
  }

  static bool same(const Table& a, const Table& b) {
    for (size_t i = 0; i < a.size(); ++i) {
      if (a[i].texts != b[i].texts || a[i].numbers.size() != b[i].numbers.size()) return false;
      for (size_t row = 0; row < a[i].numbers.size(); ++row) {
        const double x = a[i].numbers[row], y = b[i].numbers[row];
        if (x != y && !(std::isnan(x) && std::isnan(y))) return false;
      }
    }
    return true;
  }

  void look_for_checkpoints() {
    const StoreContents& contents = scan_ || !published_ ? state_.contents() : *published_;
    for (const FineTuneRecord& record : contents.fine_tunes) {
      if (record.status != "finished" || record.outcome.checkpoint.empty()) continue;
      const fs::path weights = directory_ / record.outcome.checkpoint;
      if (fs::exists(weights / "config.json")) continue;
      notes_.push_back(fmt::format(
          "{}: the weights of fine-tune {} are gone; new cells of it would need them ('ropesweep "
          "rerun --where \"fine_tune = '{}'\" --with-fine-tunes' makes them again)",
          weights.string(), record.fine_tune.id, record.fine_tune.id));
    }
  }

  /// A second name for the damaged journal, for those who want to look at it.
  void keep_damaged_journal() const {
    for (int i = 1;; ++i) {
      const fs::path name = directory_ / fmt::format("journal.damaged-{}", i);
      if (fs::exists(name)) continue;
      std::error_code error;
      fs::create_hard_link(journal_file_, name, error);
      if (error) throw_file_error(name, "be created", error.value());
      return;
    }
  }

  /// What the journal's good frames and the published file hold together.
  StoreContents salvage() {
    if (!must_rebuild_ || !published_) return state_.contents();
    // The published file lacks texts that the journal has (canonical texts, settings): what both
    // know is the journal's, unless only the published file has its result.
    StoreState merged(state_.contents());
    StoreContents missing;
    for (const CellRecord& record : published_->cells) {
      const CellRecord* known = merged.cell(record.cell.id);
      if (known != nullptr && known->status == record.status) continue;
      CellRecord kept = record;
      if (known != nullptr) kept.cell = known->cell;
      if (known == nullptr || known->status == "pending" || known->status == "running") {
        missing.cells.push_back(kept);
      }
    }
    for (const FineTuneRecord& record : published_->fine_tunes) {
      const FineTuneRecord* known = merged.fine_tune(record.fine_tune.id);
      if (known != nullptr && known->status == record.status) continue;
      FineTuneRecord kept = record;
      if (known != nullptr) kept.fine_tune = known->fine_tune;
      if (known == nullptr || known->status == "pending" || known->status == "running") {
        missing.fine_tunes.push_back(kept);
      }
    }
    missing.attempts = published_->attempts;
    missing.provenance = published_->provenance;
    merged.apply(imported_event(missing));
    return merged.contents();
  }

  fs::path h5_file_, directory_, journal_file_;
  bool in_use_ = false;
  bool must_rebuild_ = false;  ///< the journal can't be opened as it is
  StoreState state_;
  std::optional<JournalScan> scan_;
  SnapshotStamp stamp_;
  std::optional<StoreContents> published_;
  std::vector<std::string> findings_, notes_;
};

}  // namespace

CheckReport check_store(const fs::path& h5_file, bool repair) {
  if (!fs::exists(h5_file) && !fs::exists(store_directory(h5_file))) {
    throw_user_error("{}: no such store", h5_file.string());
  }
  CheckReport report;
  Checker checker(h5_file);
  if (!repair) {
    checker.inspect(/*lock_is_ours=*/false);
    report.findings = checker.findings();
    report.notes = checker.notes();
    return report;
  }
  {
    const fs::path directory = store_directory(h5_file);
    make_directory(directory);
    const StoreLock lock(directory);
    checker.inspect(/*lock_is_ours=*/true);
    report.findings = checker.findings();
    report.notes = checker.notes();
    if (report.findings.empty()) return report;
    checker.repair();
  }
  // Opening cuts a torn tail and imports what has no journal; publishing makes the file anew.
  const auto store = Store::open(h5_file);
  store->publish();
  report.repaired = true;
  return report;
}

}  // namespace ropesweep
