// Choosing what runs again.
#include "analysis/rerun.h"

#include <unordered_map>
#include <unordered_set>

#include "analysis/expression.h"
#include "experiments/error.h"
#include "storage/store.h"

namespace ropesweep {
namespace {

bool has_failed(const std::string& status) { return status == "failed" || status == "skipped"; }

std::unordered_set<std::string> cells_where(const StoreContents& contents,
                                            const std::string& where) {
  const Table table = make_table(contents, "cells");
  const std::vector<uint8_t> holds = rows_where(table, where);
  const Column& id = find_column(table, "id", "--where");
  std::unordered_set<std::string> chosen;
  for (size_t row = 0; row < holds.size(); ++row) {
    if (holds[row] != 0) chosen.insert(id.texts[row]);
  }
  return chosen;
}

/// The fine-tune and all that it builds on.
void add_with_parents(const std::unordered_map<std::string, const FineTuneRecord*>& by_id,
                      std::string id, std::unordered_set<std::string>& chosen) {
  while (!id.empty() && chosen.insert(id).second) {
    const auto found = by_id.find(id);
    id = found == by_id.end() ? "" : found->second->fine_tune.parent;
  }
}

}  // namespace

RerunMarks choose_rerun(const StoreContents& contents, const RerunChoice& choice) {
  if (!choice.failed && choice.where.empty()) {
    throw_user_error("rerun: say which cells: --failed, or --where EXPR");
  }
  std::unordered_set<std::string> cells, fine_tunes;
  if (!choice.where.empty()) cells = cells_where(contents, choice.where);
  std::unordered_map<std::string, const FineTuneRecord*> by_id;
  for (const FineTuneRecord& record : contents.fine_tunes) {
    by_id[record.fine_tune.id] = &record;
    if (choice.failed && has_failed(record.status)) fine_tunes.insert(record.fine_tune.id);
  }
  RerunMarks marks;
  for (const CellRecord& record : contents.cells) {
    if (choice.failed && has_failed(record.status)) cells.insert(record.cell.id);
    if (!cells.contains(record.cell.id)) continue;
    if (choice.with_fine_tunes) add_with_parents(by_id, record.cell.fine_tune, fine_tunes);
    if (record.status != "pending") marks.cells.push_back(record.cell.id);
  }
  for (const FineTuneRecord& record : contents.fine_tunes) {
    if (fine_tunes.contains(record.fine_tune.id) && record.status != "pending") {
      marks.fine_tunes.push_back(record.fine_tune.id);
    }
  }
  return marks;
}

}  // namespace ropesweep
