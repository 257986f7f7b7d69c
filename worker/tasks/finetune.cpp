// The training loop. Letters: B chunks of a batch · M chunks of a micro-batch · N tokens of a chunk
#include "worker/tasks/finetune.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <optional>

#include "experiments/memory_plan.h"
#include "worker/data/corpus.h"
#include "worker/data/training_chunks.h"
#include "worker/tasks/interruption.h"
#include "worker/tasks/memory.h"
#include "worker/tasks/token_ids.h"
#include "worker/tasks/training_state.h"

namespace ropesweep::tasks {

namespace {

using Clock = std::chrono::steady_clock;

/// Without save_every, saving may take this share of the time, and not more often than once a
/// minute.
constexpr double kSaveShare = 1.0 / 30, kSaveSeconds = 60;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

void check_recipe(const RecipeSettings& recipe) {
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
  if (recipe.lora.rank != 0) {
    refuse("lora is not supported by this version; leave it out for full fine-tuning");
  }
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
    identity["scale"] = task.scale;
    identity["seed"] = task.fine_tune.seed;
  }
  return identity.dump(1) + "\n";
}

data::TrainingChunks read_chunks(const DatasetSettings& settings, const RecipeSettings& recipe,
                                 const llama::Tokenizer& tokenizer, int64_t documents) {
  const auto source = data::open_documents(settings, tokenizer, recipe.context_length);
  data::ChunkOptions options;
  options.context_length = recipe.context_length;
  options.prepend_bos = recipe.prepend_bos;
  options.append_eos = recipe.append_eos;
  options.packing = recipe.packing;
  options.documents = documents;
  data::TrainingChunks chunks(*source, tokenizer, options);
  if (source->bad_records() > 0) {
    spdlog::warn("{}: {} malformed records skipped", settings.path, source->bad_records());
  }
  return chunks;
}

class Trainer {
 public:
  Trainer(llama::Model& model, const llama::Tokenizer& tokenizer, const Task& task,
          const TaskContext& context)
      : model_(model),
        task_(task),
        recipe_(task.fine_tune.recipe),
        context_(context),
        chunks_(read_chunks(task.training_data, recipe_, tokenizer, task.training_data.samples)),
        batch_(recipe_.batch_tokens / recipe_.context_length),
        micro_batch_(micro_batch_chunks(recipe_)),
        plan_(plan_of_memory()),
        host_(plan_.optimizer_on_host ? backend::make_cpu_backend(0) : nullptr),
        optimizer_(model.backend(), model.weights(), nullptr, host_.get()) {
    if (!task.validation_data.kind.empty()) {
      validation_.emplace(
          read_chunks(task.validation_data, recipe_, tokenizer, recipe_.validation_documents));
    }
  }

  /// Trains to the last step; false when it diverged (`failure` says where).
  bool train(TrainingState& state, std::string& failure) {
    records_ = state.resume(optimizer_);
    auto last_save = Clock::now();
    double save_seconds = 0;
    for (int64_t step = optimizer_.steps_done() + 1; step <= recipe_.steps; ++step) {
      const auto record = train_step(step);
      if (!record) {  // stopped in the middle: the last whole step stands
        state.save(optimizer_, records_);
        throw_if_stopped(context_);
      }
      records_.push_back(*record);
      state.append(*record);
      if (diverged(*record, failure)) return false;
      const double due = std::max(kSaveSeconds, save_seconds / kSaveShare);
      if (recipe_.save_every > 0 ? step % recipe_.save_every == 0
                                 : seconds_since(last_save) >= due) {
        const auto start = Clock::now();
        state.save(optimizer_, records_);
        save_seconds = seconds_since(start);
        last_save = Clock::now();
      }
    }
    return true;
  }

  const std::vector<StepRecord>& records() const { return records_; }

 private:
  /// What fits into the device's memory; on the CPU, into half of what is free beside the weights,
  /// since other workers take from it too. The figures are the same whatever is recomputed.
  MemoryPlan plan_of_memory() const {
    const ModelGeometry geometry = llama::geometry_of(model_.config());
    const std::string type = backend::name_of(model_.weights().embedding.dtype());
    const auto capacity = static_cast<double>(model_.backend().capacity());
    const bool on_device = capacity > 0;
    const auto loaded = static_cast<double>(model_.backend().bytes_in_use());
    const auto available = static_cast<double>(available_memory());
    const double limit = on_device ? capacity : available > 0 ? available / 2 + loaded : 0;
    const MemoryPlan plan = plan_memory(geometry, recipe_, type, limit, on_device);
    const double most = on_device ? capacity : available > 0 ? available + loaded : 0;
    if (most > 0 && plan.device_bytes() > most) {
      throw Error(FailureKind::memory,
                  fmt::format("recipe '{}': needs {} and {:.1f} GB are there; shorten "
                              "context_length or take a larger device",
                              recipe_.name, plan.text(), most * 1e-9));
    }
    return plan;
  }

  /// Fills the batch of a step; returns its count of targets.
  int64_t fill_batch(int64_t step) {
    const auto n = static_cast<size_t>(recipe_.context_length);
    ids_.resize(static_cast<size_t>(batch_) * n);
    targets_.resize(ids_.size());
    int64_t targets = 0;
    for (int64_t i = 0; i < batch_; ++i) {
      const size_t at = static_cast<size_t>(i) * n;
      targets += chunks_.fill((step - 1) * batch_ + i, static_cast<uint64_t>(task_.fine_tune.seed),
                              std::span(ids_).subspan(at, n), std::span(targets_).subspan(at, n));
    }
    check_ids(ids_, model_.config().vocabulary, task_.training_data.path);
    return targets;
  }

  /// One update; nothing when a stop was requested before it.
  std::optional<StepRecord> train_step(int64_t step) {
    const auto start = Clock::now();
    const int64_t targets = fill_batch(step);
    double nll = 0;
    for (int64_t at = 0; at < batch_; at += micro_batch_) {
      if (stop_requested(context_)) return std::nullopt;
      const int64_t count = std::min(micro_batch_, batch_ - at);
      const auto first = static_cast<size_t>(at * recipe_.context_length);
      const auto size = static_cast<size_t>(count * recipe_.context_length);
      nll += model_.accumulate_gradients(
          std::span(ids_).subspan(first, size), std::span(targets_).subspan(first, size), count,
          1.0 / static_cast<double>(targets), optimizer_.gradients(), plan_.recompute);
      report(step, static_cast<double>(at + count) / static_cast<double>(batch_));
    }
    StepRecord record;
    record.step = step;
    record.training_loss = nll / static_cast<double>(targets);
    record.learning_rate = llama::learning_rate_at(recipe_, step);
    record.gradient_norm = optimizer_.step(recipe_, step);
    record.tokens = targets + batch_;  // each chunk's first token is fed and not predicted
    if (validation_ && is_validated(step)) record.validation_loss = validate();
    record.seconds = seconds_since(start);
    return record;
  }

  bool is_validated(int64_t step) const {
    return step == recipe_.steps ||
           (recipe_.validate_every > 0 && step % recipe_.validate_every == 0);
  }

  /// Mean loss of the held-out chunks.
  double validate() {
    const int64_t n = recipe_.context_length;
    const int64_t wanted = std::min(validation_->count(), recipe_.validation_documents);
    double nll = 0;
    int64_t targets = 0;
    for (int64_t at = 0; at < wanted; at += micro_batch_) {
      const int64_t count = std::min(micro_batch_, wanted - at);
      std::vector<int32_t> ids(static_cast<size_t>(count * n)), wanted_ids(ids.size());
      for (int64_t i = 0; i < count; ++i) {
        const auto first = static_cast<size_t>(i * n);
        targets += validation_->chunk((at + i) * validation_->count() / wanted,
                                      std::span(ids).subspan(first, static_cast<size_t>(n)),
                                      std::span(wanted_ids).subspan(first, static_cast<size_t>(n)));
      }
      check_ids(ids, model_.config().vocabulary, task_.validation_data.path);
      for (const float loss : model_.token_losses(ids, wanted_ids, count)) {
        nll += static_cast<double>(loss);
      }
    }
    return nll / static_cast<double>(targets);
  }

  bool diverged(const StepRecord& record, std::string& failure) const {
    const bool measured = validation_ && is_validated(record.step);
    if (!std::isfinite(record.training_loss) || !std::isfinite(record.gradient_norm) ||
        (measured && !std::isfinite(record.validation_loss))) {
      failure = fmt::format("step {}: training loss {}, gradient norm {}", record.step,
                            record.training_loss, record.gradient_norm);
      return true;
    }
    if (recipe_.stop_if_loss_above > 0 && record.step > recipe_.stop_if_after &&
        record.training_loss > recipe_.stop_if_loss_above) {
      failure = fmt::format("step {}: training loss {} is above the bound {}", record.step,
                            record.training_loss, recipe_.stop_if_loss_above);
      return true;
    }
    return false;
  }

  void report(int64_t step, double of_step) const {
    const double done = static_cast<double>(step - 1) + of_step;
    const std::string loss =
        records_.empty() ? "" : fmt::format(", loss {:.4f}", records_.back().training_loss);
    report_progress(context_, done / static_cast<double>(recipe_.steps),
                    fmt::format("step {} of {}{}", step, recipe_.steps, loss));
  }

  llama::Model& model_;
  const Task& task_;
  const RecipeSettings& recipe_;
  const TaskContext& context_;
  data::TrainingChunks chunks_;
  std::optional<data::TrainingChunks> validation_;
  int64_t batch_, micro_batch_;
  MemoryPlan plan_;
  std::unique_ptr<backend::Backend>
      host_;  ///< the optimizer's, where its state is not the device's
  llama::Optimizer optimizer_;
  std::vector<int32_t> ids_, targets_;
  std::vector<StepRecord> records_;
};

/// `checkpoint`: its last two path components, "checkpoints/ID" in a store.
FineTuneOutcome outcome_of(const Task& task, const std::vector<StepRecord>& records) {
  FineTuneOutcome outcome;
  outcome.fine_tune = task.fine_tune.id;
  outcome.steps = static_cast<int64_t>(records.size());
  outcome.validation_loss = std::numeric_limits<double>::quiet_NaN();
  for (const StepRecord& record : records) {
    outcome.tokens += record.tokens;
    outcome.training_loss = record.training_loss;
    if (!std::isnan(record.validation_loss)) outcome.validation_loss = record.validation_loss;
  }
  outcome.curve = curve_of(records);
  const std::filesystem::path output = task.output;
  outcome.checkpoint = (output.parent_path().filename() / output.filename()).string();
  return outcome;
}

}  // namespace

Outcome fine_tune(llama::Model& model, const llama::Tokenizer& tokenizer,
                  const std::filesystem::path& tokenizer_source, const Task& task,
                  const TaskContext& context) {
  const RecipeSettings& recipe = task.fine_tune.recipe;
  check_recipe(recipe);
  TrainingState state(task.output, identity_of(task, model.weights()));
  Outcome outcome;
  const int64_t finished = state.finished_step();
  if (finished > recipe.steps) {
    throw_user_error(
        "{}: already trained to step {}, past the {} asked for; name another directory",
        task.output, finished, recipe.steps);
  }
  if (finished == recipe.steps) {
    outcome.fine_tunes = {outcome_of(task, read_loss_records(state.losses_file()))};
    return outcome;
  }
  if (finished > 0 && state.saved_step() == 0) {
    throw_user_error(
        "{}: finished at step {}, and the state to go on from was not kept; name another "
        "directory (a run with save_every keeps its state)",
        task.output, finished);
  }
  Trainer trainer(model, tokenizer, task, context);
  if (!trainer.train(state, outcome.failure)) {
    outcome.failure_kind = FailureKind::diverged;
    outcome.fine_tunes = {outcome_of(task, trainer.records())};
    outcome.fine_tunes[0].checkpoint.clear();
    return outcome;
  }
  const bool command = task.fine_tune.id.empty();
  state.finish(
      recipe.steps, command && recipe.save_every > 0, [&](const std::filesystem::path& directory) {
        llama::save_checkpoint(model.backend(), directory, model.weights(), model.config(),
                               model.weights().embedding.dtype(), model.positions().scheme(),
                               model.positions().scale(), tokenizer_source);
      });
  outcome.fine_tunes = {outcome_of(task, trainer.records())};
  return outcome;
}

}  // namespace ropesweep::tasks
