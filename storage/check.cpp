// `check`: is all that was acknowledged there, and does the published file say the same?
#include "storage/inspection.h"
#include "storage/lock.h"
#include "storage/open_journal.h"
#include "storage/store.h"

namespace ropesweep {

CheckReport check_store(const std::filesystem::path& h5_file, bool repair) {
  if (!std::filesystem::exists(h5_file) && !std::filesystem::exists(store_directory(h5_file))) {
    throw_user_error("{}: no such store", h5_file.string());
  }
  CheckReport report;
  std::vector<std::string> again;
  {
    std::optional<StoreLock> lock;
    if (repair) {
      make_directory(store_directory(h5_file));
      lock.emplace(store_directory(h5_file));
    }
    Inspection found = inspect_store(h5_file, /*lock_is_ours=*/repair);
    report.findings = found.findings;
    report.notes = found.notes;
    const bool is_sound = found.findings.empty();
    if (!repair || (is_sound && !found.stale_published && found.leftovers.empty())) return report;
    report.actions = repair_store(found);
    report.repaired = !is_sound;
    again = found.damaged_fine_tunes;
  }
  // Opening cuts a torn tail; publishing makes the file anew.
  const auto store = Store::open(h5_file);
  store->rerun(again);
  store->publish();
  return report;
}

}  // namespace ropesweep
