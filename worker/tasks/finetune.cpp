// Settings checked, the state found, trained, the checkpoint sealed.
#include "worker/tasks/finetune.h"

#include <cmath>
#include <fstream>
#include <iterator>
#include <limits>

#include "experiments/file_digests.h"
#include "worker/llama/lora_files.h"
#include "worker/tasks/trainer.h"
#include "worker/tasks/training_state.h"

namespace ropesweep::tasks {

namespace {

void check_recipe(const Task& task) {
  const RecipeSettings& recipe = task.fine_tune.recipe;
  const auto refuse = [&](const std::string& what) {
    throw_user_error("recipe '{}': {}", recipe.name, what);
  };
  if (recipe.context_length < 2) refuse("context_length must be at least 2");
  if (recipe.steps < 1) refuse("steps must be at least 1");
  if (recipe.batch_tokens < recipe.context_length) {
    refuse(fmt::format("batch_tokens {} is less than one chunk of context_length {}",
                       recipe.batch_tokens, recipe.context_length));
  }
  if (!(recipe.learning_rate > 0)) refuse("learning_rate must be above 0");
  const std::string problem = data_problem(recipe);
  if (!problem.empty()) refuse(problem);
  const LoraSettings& lora = recipe.lora;
  if (lora.rank == 0) return;
  if (lora.rank < 0 || !(lora.alpha > 0)) refuse("lora: rank and alpha must be above 0");
  if (!(lora.dropout >= 0 && lora.dropout < 1)) refuse("lora: dropout must be from 0 to below 1");
  sorted_lora_targets(lora.targets, fmt::format("recipe '{}': lora", recipe.name));
  if (task.weights.empty()) refuse("lora adapts trained weights; name a model, not init");
}

/// What the figures depend on. A sweep's fine-tune has its canonical text; `finetune` its settings.
/// The number of steps is left out where a longer run begins like a shorter one.
std::string identity_of(const Task& task, const llama::Weights& weights) {
  nlohmann::json identity;
  identity["type"] = backend::name_of(weights.embedding.dtype());
  if (!task.fine_tune.canonical.empty()) {
    identity["canonical"] = task.fine_tune.canonical;
  } else {
    nlohmann::json recipe = task.fine_tune.recipe;
    for (const char* free : {"name", "save_every"}) recipe.erase(free);
    if (task.fine_tune.recipe.schedule == "constant") recipe.erase("steps");
    identity["recipe"] = recipe;
    identity["training_data"] = task.training_data;
    identity["validation_data"] = task.validation_data;
    identity["weights"] = task.weights;
    identity["scheme"] = task.scheme;
    for (const std::string& file : scheme_files(task.scheme)) {
      std::ifstream stream(file, std::ios::binary);
      const std::string content{std::istreambuf_iterator<char>(stream), {}};
      identity["scheme_files"].push_back(sha256_hex(content));
    }
    identity["scale"] = task.scale;
    identity["seed"] = task.fine_tune.seed;
  }
  return identity.dump(1) + "\n";
}

/// What an adapter calls its base: by the way from its own directory where both are a store's,
/// which may move.
std::string base_of(const Task& task) {
  const std::filesystem::path base(task.weights), own(task.output);
  const bool beside = !task.fine_tune.id.empty() && base.parent_path() == own.parent_path();
  return beside ? (std::filesystem::path("..") / base.filename()).string() : base.string();
}

/// `checkpoint`: its last two path components, "checkpoints/ID" in a store. Its digests are rank
/// 0's to tell: its outcome is the task's.
FineTuneOutcome outcome_of(const Task& task, const std::vector<StepRecord>& records,
                           const SampleShare& share, bool saved) {
  FineTuneOutcome outcome;
  outcome.fine_tune = task.fine_tune.id;
  outcome.validation_loss = std::numeric_limits<double>::quiet_NaN();
  add_steps(outcome, records);
  const std::filesystem::path output = task.output;
  outcome.checkpoint = (output.parent_path().filename() / output.filename()).string();
  if (!saved) outcome.checkpoint.clear();
  const bool of_a_store = !task.fine_tune.id.empty();
  if (saved && of_a_store && share.rank() == 0) outcome.digests = checkpoint_digests(output);
  return outcome;
}

}  // namespace

Outcome fine_tune(llama::Model& model, const llama::Tokenizer& tokenizer,
                  const std::filesystem::path& tokenizer_source, const Task& task,
                  const SampleShare& share, const TaskContext& context) {
  const RecipeSettings& recipe = task.fine_tune.recipe;
  check_recipe(task);
  TrainingState state(task.output, identity_of(task, model.weights()), share);
  Outcome outcome;
  const int64_t finished = state.finished_step();
  if (finished > recipe.steps) {
    throw_user_error(
        "{}: already trained to step {}, past the {} asked for; name another directory",
        task.output, finished, recipe.steps);
  }
  if (finished == recipe.steps) {
    outcome.fine_tunes = {outcome_of(task, read_loss_records(state.losses_file()), share, true)};
    return outcome;
  }
  if (finished > 0 && state.saved_step() == 0) {
    throw_user_error(
        "{}: finished at step {}, and the state to go on from was not kept; name another "
        "directory (a run with save_every keeps its state)",
        task.output, finished);
  }
  Trainer trainer(model, tokenizer, task, share, context);
  if (!trainer.train(state, outcome.failure)) {
    outcome.failure_kind = FailureKind::diverged;
    outcome.fine_tunes = {outcome_of(task, trainer.records(), share, false)};
    return outcome;
  }
  const bool command = task.fine_tune.id.empty();
  const auto save_adapters = [&](const llama::Lora& adapters,
                                 const std::filesystem::path& directory) {
    llama::save_adapter_checkpoint(model.backend(), directory, adapters.weights(), recipe.lora,
                                   base_of(task), model.config(), model.weights().embedding.dtype(),
                                   model.positions().scheme(), model.positions().scale(),
                                   tokenizer_source, model.parts().group());
  };
  state.finish(
      recipe.steps, command && recipe.save_every > 0, [&](const std::filesystem::path& directory) {
        if (trainer.adapters()) return save_adapters(*trainer.adapters(), directory);
        llama::save_checkpoint(model.backend(), directory, model.weights(), model.config(),
                               model.weights().embedding.dtype(), model.positions().scheme(),
                               model.positions().scale(), tokenizer_source, &model.parts());
      });
  // What comes after works with the weights that a loader of the checkpoint has.
  if (trainer.adapters()) {
    llama::merge_lora(model.backend(), model.weights(), trainer.adapters()->weights(),
                      model.parts());
  }
  outcome.fine_tunes = {outcome_of(task, trainer.records(), share, true)};
  return outcome;
}

}  // namespace ropesweep::tasks
