// A job that Slurm itself takes away (cancelled, preempted, at the end of its time) is left to it:
// only one that is still RUNNING is requeued from here, or a cancelled one would come back.
#include "commands/slurm_end.h"

#include <spdlog/spdlog.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "commands/sbatch_script.h"
#include "experiments/error.h"
#include "storage/store.h"

namespace ropesweep::commands {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMostFailuresShown = 5;

std::string command_for(const std::string& verb, const fs::path& store, const std::string& rest) {
  return fmt::format("    ropesweep {} {}{}\n", verb, shell_quoted(store.string()), rest);
}

std::string failures(const StoreContents& contents) {
  std::string text;
  size_t failed = 0, skipped = 0;
  for (const CellRecord& record : contents.cells) {
    if (record.status == "skipped") {
      ++skipped;
    } else if (record.status == "failed" && failed++ < kMostFailuresShown) {
      const Cell& cell = record.cell;
      text += fmt::format("  cell {} ({}, {}, {}, {} tokens): {}\n", cell.id, cell.scheme,
                          cell.recipe, cell.dataset, cell.context_length, record.failure);
    }
  }
  size_t shown = 0;
  for (const FineTuneRecord& record : contents.fine_tunes) {
    if (record.status == "failed" && shown++ < kMostFailuresShown) {
      text += fmt::format("  fine-tune {} ({}, {}): {}\n", record.fine_tune.id,
                          record.fine_tune.scheme, record.fine_tune.recipe.name, record.failure);
    }
  }
  return fmt::format("{} cells failed, {} were skipped since what they need failed:\n{}", failed,
                     skipped, text);
}

}  // namespace

SweepProgress sweep_progress(const fs::path& store) {
  SweepProgress progress;
  if (fs::exists(store) || fs::exists(store_directory(store) / "journal")) {
    const StoreContents contents = read_store(store);
    for (const CellRecord& record : contents.cells) {
      progress.settled += is_settled(record.status) ? 1 : 0;
    }
    for (const FineTuneRecord& record : contents.fine_tunes) {
      progress.settled += is_settled(record.status) ? 1 : 0;
      progress.steps += record.outcome.steps;
    }
  }
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(store_directory(store) / "evaluations", error)) {
    const auto size = entry.file_size(error);
    progress.sample_bytes += error ? 0 : static_cast<int64_t>(size);
  }
  return progress;
}

IdleStarts::IdleStarts(const fs::path& directory, const std::string& job)
    : file_(directory / "slurm.json"), job_(job) {
  std::ifstream file(file_);
  const auto json = nlohmann::json::parse(file, nullptr, false);
  if (json.is_object() && json.value("job", nlohmann::json()) == job &&
      json.value("idle_starts", nlohmann::json()).is_number_integer()) {
    idle_ = json["idle_starts"].get<int64_t>();
  }
}

int64_t IdleStarts::count(const SweepProgress& before, const SweepProgress& after) {
  const bool further = after.settled > before.settled || after.steps > before.steps ||
                       after.sample_bytes > before.sample_bytes;
  idle_ = further ? 0 : idle_ + 1;
  std::ofstream file(file_);
  file << nlohmann::json{{"job", job_}, {"idle_starts", idle_}}.dump() << '\n';
  file.close();
  if (!file) {
    spdlog::warn("{}: can't be written: is the disk full?", file_.string());
    return kMostIdleStarts;  // Who can't count must not go round.
  }
  return idle_;
}

std::string advice(int code, const StoreContents& contents, const fs::path& store,
                   const fs::path& script) {
  const std::string again = fmt::format("    sbatch {}\n", shell_quoted(script.string()));
  const std::string attempts =
      command_for("query", store, " --table attempts --where \"status != 'finished'\"");
  switch (code) {
    case 0:
      return "the sweep is done:\n" + command_for("report", store, "");
    case 2:
      return "the input is wrong (above), and nothing was changed; mend it and submit again:\n" +
             again;
    case 3:
      return "the sweep has ended, and " + failures(contents) + "to look:\n" +
             command_for("query", store,
                         " --where \"status in ('failed', 'skipped')\" --select "
                         "id,status,failure_kind,failure") +
             attempts + "when the cause is mended, to run them again:\n" +
             command_for("rerun", store, " --failed") + again;
    default:
      return "work remains, and nothing that was done is lost; to look:\n" +
             command_for("status", store, "") + attempts + "to go on where it stopped:\n" + again;
  }
}

int end_slurm_run(const SlurmJob& job, const fs::path& store, int code,
                  const SweepProgress& before) {
  const fs::path script = fs::path(store).replace_extension(".sbatch");
  if (code == 75 || code == 1) {
    const int64_t idle =
        IdleStarts(store_directory(store), job.id).count(before, sweep_progress(store));
    const std::string state = current_slurm_job().state;
    if (state != "RUNNING") {
      spdlog::info("job {} is {}: what comes next is Slurm's to decide", job.id, state);
      return code;
    }
    if (idle >= kMostIdleStarts) {
      spdlog::error(
          "{} starts of job {} in a row brought the sweep no further, so it isn't requeued. Is "
          "its time too short for anything to be saved, or do its workers die (above)?",
          idle, job.id);
    } else if (const std::string refusal = requeue(job); refusal.empty()) {
      spdlog::info("work remains: job {} is requeued, and goes on where it stopped", job.id);
      return code;
    } else {
      spdlog::error("job {} can't be requeued: {}", job.id, refusal);
    }
  }
  StoreContents contents;
  try {
    contents = read_store(store);
  } catch (const Error& error) {
    spdlog::debug("{}", error.what());  // There need not be one, after a mistake in the sweep.
  }
  spdlog::default_logger()->flush();
  std::fprintf(stderr, "\nropesweep: %s", advice(code, contents, store, script).c_str());
  return code;
}

}  // namespace ropesweep::commands
