// The end of a run in a Slurm job: the job is requeued while work remains and starts bring it
// further; else its output says what to do.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "commands/slurm_job.h"
#include "storage/results.h"

namespace ropesweep::commands {

/// How far a sweep is. Each figure of it that grows is progress: settled results, steps of
/// fine-tunes, bytes of evaluations' finished samples.
struct SweepProgress {
  int64_t settled = 0, steps = 0, sample_bytes = 0;
};
SweepProgress sweep_progress(const std::filesystem::path& store);

/// Starts of a job that brought nothing; kept in NAME.d/slurm.json from start to start.
class IdleStarts {
 public:
  /// A new job begins with none.
  IdleStarts(const std::filesystem::path& directory, const std::string& job);
  /// Counts this start: 0 again when it brought the sweep further.
  int64_t count(const SweepProgress& before, const SweepProgress& after);

 private:
  std::filesystem::path file_;
  std::string job_;
  int64_t idle_ = 0;
};

/// So many starts in a row may bring nothing; then the job ends, so as not to go round for ever.
inline constexpr int64_t kMostIdleStarts = 3;

/// What a person reads at the end of a job's output: which cells failed and why, and the commands
/// to look, to mend and to go on. `code`: docs/commands.md; `script`: the job's sbatch file.
std::string advice(int code, const StoreContents& contents, const std::filesystem::path& store,
                   const std::filesystem::path& script);

/// Requeues or advises. Returns `code`.
int end_slurm_run(const SlurmJob& job, const std::filesystem::path& store, int code,
                  const SweepProgress& before);

}  // namespace ropesweep::commands
