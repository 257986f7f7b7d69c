// Fine-tuning, of all weights or by LoRA, or training from scratch: one stage of a recipe.
#pragma once

#include <filesystem>

#include "experiments/outcome.h"
#include "experiments/task.h"
#include "worker/llama/model.h"
#include "worker/llama/tokenizer.h"
#include "worker/tasks/sample_share.h"
#include "worker/tasks/task_runner.h"

namespace ropesweep::tasks {

/// Trains `model` in place under its positions, as `task.fine_tune.recipe` says, with its state,
/// its losses and at last its checkpoint in `task.output` (training_state.h). With LoRA the state
/// and the checkpoint are the adapters', and `model` has them merged in at the end.
///
/// Step j (from 1) takes batch_tokens / context_length chunks, at positions (j−1)·B … j·B−1 of the
/// run's order (worker/data/training_chunks.h); its loss and gradient are means over all its
/// targets. Micro-batches hold as many chunks as fit 4096 tokens, whatever the memory: figures
/// depend on the settings alone. A group's ranks share them (Trainer); sums over ranks change the
/// last bits of f32 sums, so a group's figures are one rank's within rounding. Validation takes up
/// to validation_documents chunks, spread over as many documents of the validation data.
///
/// Resumes from the newest state to the bit; a finished checkpoint is only reported again. A loss
/// or gradient norm that is not finite, or a loss past its bound, ends it as diverged, with the
/// curve and no checkpoint. Errors: user error for bad settings or data; Error(time) when stopped,
/// with the state saved; Error(memory) when the activations can't fit; transient when the disk
/// fails.
Outcome fine_tune(llama::Model& model, const llama::Tokenizer& tokenizer,
                  const std::filesystem::path& tokenizer_source, const Task& task,
                  const SampleShare& share, const TaskContext& context);

}  // namespace ropesweep::tasks
