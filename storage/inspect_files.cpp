// What fine-tunes, evaluations and interrupted writes left in NAME.d.
#include <fstream>
#include <nlohmann/json.hpp>
#include <system_error>

#include "experiments/file_digests.h"
#include "storage/inspection.h"

namespace ropesweep {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> files_in(const fs::path& directory) {
  std::vector<fs::path> files;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(directory, ignored)) files.push_back(entry);
  return files;
}

/// Weights of finished fine-tunes against the digests that were recorded with them.
void check_checkpoints(Inspection& found) {
  const StoreContents& contents =
      found.scan || !found.published ? found.state.contents() : found.published->contents;
  for (const FineTuneRecord& record : contents.fine_tunes) {
    const FineTuneOutcome& outcome = record.outcome;
    if (record.status != "finished" || outcome.checkpoint.empty()) continue;
    const fs::path weights = found.paths.directory / outcome.checkpoint;
    const std::string& id = record.fine_tune.id;
    std::error_code ignored;
    if (!fs::exists(weights, ignored) ||
        (outcome.digests.empty() && !fs::exists(weights / "config.json", ignored))) {
      found.note(
          "{}: the weights of fine-tune {} are gone; new cells of it would need them ('ropesweep "
          "rerun --where \"fine_tune = '{}'\" --with-fine-tunes' makes them again)",
          weights.string(), id, id);
      continue;
    }
    const std::vector<DamagedFile> damaged = damaged_files(weights, outcome.digests);
    for (const DamagedFile& file : damaged) {
      found.find("{}: {} (weights of fine-tune {})", (weights / file.name).string(), file.what, id);
    }
    if (!damaged.empty()) found.damaged_fine_tunes.push_back(id);
  }
}

/// Lines of finished samples; an evaluation computes again what it can't read.
void check_evaluations(Inspection& found) {
  for (const fs::path& file : files_in(found.paths.directory / "evaluations")) {
    std::ifstream lines(file);
    int64_t number = 0, unreadable = 0, first = 0;
    for (std::string line; std::getline(lines, line);) {
      ++number;
      if (line.empty() || nlohmann::json::accept(line)) continue;
      if (unreadable++ == 0) first = number;
    }
    if (unreadable == 0) continue;
    found.note(
        "{}: {} lines can't be read (the first is line {}); those samples are computed again",
        file.string(), unreadable, first);
  }
}

void look_for_leftovers(Inspection& found) {
  if (found.in_use) return;
  std::error_code ignored;
  const fs::path beside = found.paths.h5_file.string() + ".new";
  if (fs::exists(beside, ignored)) found.leftovers.push_back(beside);
  const auto look = [&found](const fs::path& directory) {
    for (const fs::path& file : files_in(directory)) {
      if (file.extension() == ".new" || file.extension() == ".partial") {
        found.leftovers.push_back(file);
      }
    }
  };
  look(found.paths.directory);
  for (const fs::path& checkpoint : files_in(found.paths.directory / "checkpoints")) {
    look(checkpoint);
    look(checkpoint / "state");
  }
  for (const fs::path& file : found.leftovers) {
    found.note("{}: left behind by a write that was interrupted", file.string());
  }
}

}  // namespace

void inspect_files(Inspection& found) {
  check_checkpoints(found);
  check_evaluations(found);
  look_for_leftovers(found);
}

}  // namespace ropesweep
