// `check --repair`: a sound store of what is sound in a damaged one. Nothing is deleted but what a
// write that was interrupted left: what is replaced is kept in NAME.d under a name of its own.
#include <algorithm>
#include <system_error>

#include "experiments/output_file.h"
#include "storage/compaction.h"
#include "storage/inspection.h"
#include "storage/journal_format.h"
#include "storage/keep_aside.h"
#include "storage/open_journal.h"

namespace ropesweep {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMostListed = 20;

/// Whether the journal lacks something from before the published file was made.
bool lost_what_is_published(const Inspection& found) {
  if (!found.published || !found.same_journal) return false;
  const int64_t covered = found.published->stamp.journal_bytes;
  return found.scan->valid_bytes < covered ||
         std::any_of(found.scan->gaps.begin(), found.scan->gaps.end(),
                     [covered](const JournalGap& gap) { return gap.from < covered; });
}

/// The published file, and what the journal has after it. It lacks texts that the journal has
/// (canonical texts, settings): they are the journal's where that knows them.
StoreContents published_and_after(const Inspection& found) {
  StoreState both(found.published->contents);
  both.keep_unplanned_results();
  scan_journal(found.paths.journal, applying_to(both, found.paths.journal),
               {.from = found.published->stamp.journal_bytes, .any_header = true});
  StoreContents contents = std::move(both).release();
  for (size_t i = 0; i < contents.cells.size(); ++i) {
    const auto known = found.state.cell(contents.cells[i].cell.id);
    if (!known || known->cell.canonical.empty()) continue;
    contents.cells.change(i, [&](CellRecord& record) { record.cell = known->cell; });
  }
  for (FineTuneRecord& record : contents.fine_tunes) {
    const FineTuneRecord* known = found.state.fine_tune(record.fine_tune.id);
    if (known != nullptr && !known->fine_tune.canonical.empty()) {
      record.fine_tune = known->fine_tune;
    }
  }
  return contents;
}

/// All that is known for certain. Errors: user error when that is nothing.
StoreContents salvage(const Inspection& found) {
  const bool has_records =
      found.scan && (found.scan->valid_bytes > static_cast<int64_t>(kHeaderBytes));
  if (!has_records && !found.published) {
    throw_user_error(
        "{}: neither the journal nor the published file can be read, and a repair would have "
        "nothing to build from; bring one of them back from a copy, or move both away and run "
        "again",
        found.paths.h5_file.string());
  }
  if (!has_records) return found.published->contents;
  return lost_what_is_published(found) ? published_and_after(found) : found.state.contents();
}

/// Says which cells are without a result though their attempt began, as far as can be known.
void tell_losses(const StoreContents& contents, std::vector<std::string>& lines) {
  std::vector<std::string> begun;
  size_t waiting = 0;
  for (const CellRecord& record : contents.cells) {
    if (record.status == "running") begun.push_back(record.cell.id);
    if (record.status == "running" || record.status == "pending") ++waiting;
  }
  lines.push_back(fmt::format(
      "what the damaged bytes held beyond this is lost: {} cells have no result, and the next "
      "'ropesweep run' does them",
      waiting));
  if (begun.empty()) return;
  const size_t listed = std::min(begun.size(), kMostListed);
  lines.push_back(
      fmt::format("of these had begun: {}{}",
                  fmt::join(begun.begin(), begun.begin() + static_cast<long>(listed), ", "),
                  listed < begun.size() ? ", …" : ""));
}

void rebuild_journal(Inspection& found, std::vector<std::string>& lines) {
  const StoreContents contents = salvage(found);
  const fs::path& journal = found.paths.journal;
  if (fs::exists(journal)) {
    const fs::path name = free_name(found.paths.directory, "journal.damaged");
    keep_file(journal, name);
    lines.push_back(
        fmt::format("{}: written anew from what is sound; the damaged one is kept as {}",
                    journal.string(), name.string()));
    write_journal(journal, contents);
    const bool lost = !found.scan->gaps.empty() || found.scan->valid_bytes < found.scan->file_bytes;
    if (lost) tell_losses(contents, lines);
    return;
  }
  write_journal(journal, contents);
  lines.push_back(
      fmt::format("{}: written from {}", journal.string(), found.paths.h5_file.string()));
}

void set_aside_checkpoints(const Inspection& found, std::vector<std::string>& lines) {
  for (const std::string& id : found.damaged_fine_tunes) {
    const FineTuneRecord* record = found.state.fine_tune(id);
    const fs::path weights =
        found.paths.directory / (record != nullptr && !record->outcome.checkpoint.empty()
                                     ? record->outcome.checkpoint
                                     : "checkpoints/" + id);
    const fs::path name = free_name(found.paths.directory, "checkpoint.damaged-" + id);
    std::error_code error;
    fs::rename(weights, name, error);
    if (error) throw_file_error(weights, "be renamed", error.value());
    lines.push_back(fmt::format(
        "fine-tune {} is made again when a cell needs it; its finished cells keep their results, "
        "and the damaged weights are kept as {}",
        id, name.string()));
  }
}

}  // namespace

std::vector<std::string> repair_store(Inspection& found) {
  std::vector<std::string> lines;
  if (found.must_rebuild) {
    rebuild_journal(found, lines);
  } else if (found.torn) {
    const fs::path name = free_name(found.paths.directory, "journal.cut");
    keep_tail(found.paths.journal, found.scan->valid_bytes, name);
    lines.push_back(fmt::format("{}: cut back to its last good record; what was cut is kept as {}",
                                found.paths.journal.string(), name.string()));
  }
  if (found.damaged_published) {
    const fs::path name = free_name(found.paths.directory, "published.damaged", ".h5");
    keep_file(found.paths.h5_file, name);
    lines.push_back(
        fmt::format("{}: published anew from the journal; the damaged one is kept as {}",
                    found.paths.h5_file.string(), name.string()));
  }
  set_aside_checkpoints(found, lines);
  for (const fs::path& file : found.leftovers) {
    std::error_code ignored;  // what stays is only space
    fs::remove_all(file, ignored);
  }
  return lines;
}

}  // namespace ropesweep
