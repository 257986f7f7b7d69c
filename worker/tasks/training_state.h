// What a fine-tune keeps on disk, so that it can be killed at any instant and go on to the bit.
//
//   OUTPUT/losses.jsonl                 one line a step, as it goes
//   OUTPUT/identity.txt                 what is trained here
//   OUTPUT/state/step-K/                optimizer.safetensors, losses.jsonl (steps 1 … K)
//   OUTPUT/config.json, *.safetensors … the checkpoint, once finished
//   OUTPUT/finished.json                written last: the checkpoint is whole
//
// A state is written beside and renamed as a whole; the one before it is removed after that.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <future>
#include <string>
#include <vector>

#include "experiments/output_file.h"
#include "worker/llama/optimizer.h"
#include "worker/tasks/loss_record.h"
#include "worker/tasks/sample_share.h"
#include "worker/tasks/save_interval.h"

namespace ropesweep::tasks {

class TrainingState {
 public:
  /// `identity`: text of all that the figures depend on; the work of another one is refused.
  /// Creates OUTPUT. In a group all ranks make the same calls, and rank 0 writes. Errors: user
  /// error when OUTPUT holds the work of another identity; transient when the disk fails.
  TrainingState(std::filesystem::path output, const std::string& identity,
                const SampleShare& share);

  /// The step of a finished checkpoint, or 0.
  int64_t finished_step() const;
  /// The newest saved step, or 0.
  int64_t saved_step() const;

  /// Loads the newest state, if any, into `optimizer`, and cuts `losses.jsonl` back to its step.
  /// Returns the records of its steps.
  std::vector<StepRecord> resume(llama::Optimizer& optimizer);

  /// Appends a line to `losses.jsonl`.
  void append(const StepRecord& record);

  /// Saves the whole state: where the host's memory has room for a copy of it, the copy is written
  /// beside what the caller does next, and a failure of the disk is a warning. Errors: transient
  /// when the disk fails under what is written at once. The newest whole state stays.
  void save(const llama::Optimizer& optimizer, const std::vector<StepRecord>& records);
  /// Returns when what was saved is on the disk. Errors: transient when it could not be written.
  void settle();
  /// Of the save whose writing ended last.
  SaveCost last_cost() const { return {pause_, writing_seconds_}; }

  /// Runs `write`, which puts the checkpoint into OUTPUT, and seals it. States are removed unless
  /// `keep_state`.
  void finish(int64_t step, bool keep_state,
              const std::function<void(const std::filesystem::path& directory)>& write);

  std::filesystem::path losses_file() const { return output_ / "losses.jsonl"; }

 private:
  std::filesystem::path states() const { return output_ / "state"; }
  void settle_or_warn();
  std::filesystem::path begin_partial(int64_t step) const;
  void seal(int64_t step, const std::string& losses) const;
  void write_beside(llama::OptimizerState state, std::string losses);
  void remove_states_but(int64_t step) const;
  void rewrite_losses(const std::vector<StepRecord>& records);

  int64_t finished_step_here() const;
  int64_t saved_step_here() const;
  /// Rank 0's: a file that it has just written may not be seen elsewhere yet.
  int64_t agreed(int64_t step) const;
  bool writes() const { return share_.rank() == 0; }

  std::filesystem::path output_;
  const SampleShare& share_;
  OutputFile losses_;
  int64_t saved_ = 0;  ///< the last step saved or resumed from, here
  double pause_ = 0;
  std::atomic<double> writing_seconds_ = 0;
  std::future<void> writing_;  ///< last, since it uses the others
};

}  // namespace ropesweep::tasks
