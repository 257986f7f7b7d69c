// Batches, steps, validation, and when to save.
#include "worker/tasks/trainer.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>

#include "experiments/losses.h"
#include "worker/tasks/interruption.h"
#include "worker/tasks/memory.h"
#include "worker/tasks/open_corpus.h"
#include "worker/tasks/thrift.h"
#include "worker/tasks/token_ids.h"

namespace ropesweep::tasks {

namespace {

using Clock = std::chrono::steady_clock;

/// The positions of a training step, where the scheme changes them from step to step; what follows
/// the step is under the scheme's own again.
class PositionsOfStep {
 public:
  PositionsOfStep(llama::Model& model, int64_t step)
      : model_(model), own_(model.shared_positions()) {
    changed_ = own_->at_step(step);
    if (changed_) model_.use_positions(changed_);
  }
  ~PositionsOfStep() { restore(); }
  PositionsOfStep(const PositionsOfStep&) = delete;
  PositionsOfStep& operator=(const PositionsOfStep&) = delete;

  void restore() {
    if (changed_) model_.use_positions(own_);
    changed_.reset();
  }

 private:
  llama::Model& model_;
  std::shared_ptr<const PositionEncoding> own_, changed_;
};

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// The training or the held-out chunks of a data set; `documents` at most (0: all).
data::TrainingChunks read_chunks(const DatasetSettings& settings, const Task& task,
                                 const llama::Tokenizer& tokenizer, const TaskContext& context,
                                 int64_t documents, bool held_out) {
  const RecipeSettings& recipe = task.fine_tune.recipe;
  data::ChunkOptions options;
  options.context_length = recipe.context_length;
  options.prepend_bos = recipe.prepend_bos;
  options.append_eos = recipe.append_eos;
  options.packing = recipe.packing;
  options.documents = documents;
  options.overlap = recipe.overlap;
  options.separate_documents = recipe.separate_documents;
  options.validation_share = recipe.validation_share;
  options.validation = held_out;
  return {
      open_corpus(settings, task, tokenizer, context, recipe.validation_share > 0 ? 0 : documents),
      tokenizer, options};
}

}  // namespace

Trainer::Trainer(llama::Model& model, const llama::Tokenizer& tokenizer, const Task& task,
                 const SampleShare& share, const TaskContext& context)
    : model_(model),
      task_(task),
      recipe_(task.fine_tune.recipe),
      share_(share),
      context_(context),
      chunks_(read_chunks(task.training_data, task, tokenizer, context, 0, false)),
      plan_(plan_of_memory()),
      batch_(recipe_.batch_tokens / recipe_.context_length),
      micro_batch_(splits() || thrift() >= Thrift::small_batches
                       ? 1
                       : micro_batch_chunks(recipe_, share.size())),
      host_(plan_.optimizer_on_host ? backend::make_cpu_backend(0) : nullptr),
      adapters_(make_adapters()),
      optimizer_(make_optimizer()) {
  const bool shares = recipe_.validation_share > 0;
  if (shares || !task.validation_data.kind.empty()) {
    validation_.emplace(read_chunks(shares ? task.training_data : task.validation_data, task,
                                    tokenizer, context, recipe_.validation_documents, shares));
  }
  model_.split_sequences(splits() ? model_.parts().group() : nullptr);
  model_.use_adapters(adapters_);
}

Trainer::~Trainer() {
  model_.split_sequences(nullptr);
  model_.use_adapters(nullptr);
}

std::shared_ptr<llama::Lora> Trainer::make_adapters() const {
  const LoraSettings& lora = recipe_.lora;
  if (lora.rank == 0) return nullptr;
  const auto seed = static_cast<uint64_t>(task_.fine_tune.seed);
  return std::make_shared<llama::Lora>(
      model_.backend(), llama::init_lora(model_.backend(), model_.config(), lora, seed),
      model_.weights().embedding.dtype(), lora.dropout, seed);
}

llama::Optimizer Trainer::make_optimizer() {
  if (adapters_) {
    return {model_.backend(), *adapters_, model_.parts().group(), host_.get()};
  }
  return {model_.backend(), model_.weights(), &model_.parts(), host_.get(),
          static_cast<uint64_t>(task_.fine_tune.seed)};
}

bool Trainer::train(TrainingState& state, std::string& failure) {
  records_ = state.resume(optimizer_);
  report_losses(records_);
  auto last_save = Clock::now();
  for (int64_t step = optimizer_.steps_done() + 1; step <= recipe_.steps; ++step) {
    const auto record = train_step(step);
    if (!record) {  // stopped in the middle: the last whole step stands
      state.save(optimizer_, records_);
      state.settle();
      throw Error(FailureKind::time, "stopped on request; run it again");
    }
    records_.push_back(*record);
    state.append(*record);
    report_losses(std::span(&*record, 1));
    if (diverged(*record, failure)) return false;
    const double due =
        save_interval(state.last_cost(), task_.seconds_between_failures / share_.size());
    // Clocks differ: rank 0 decides.
    const bool is_due = share_.of_first({seconds_since(last_save) >= due ? 1.0 : 0.0})[0] > 0;
    if (recipe_.save_every > 0 ? step % recipe_.save_every == 0 : is_due) {
      state.save(optimizer_, records_);
      last_save = Clock::now();
    }
  }
  return true;
}

/// What fits into the device's memory; on the CPU, into half of what is free beside the weights,
/// since other workers take from it too. The figures are the same whatever is recomputed. In a
/// group rank 0's plan is everyone's.
MemoryPlan Trainer::plan_of_memory() const {
  const ModelGeometry geometry = llama::geometry_of(model_.config());
  const std::string type = backend::name_of(model_.weights().embedding.dtype());
  const auto capacity = static_cast<double>(model_.backend().capacity());
  const bool on_device = capacity > 0;
  const auto loaded = static_cast<double>(model_.backend().bytes_in_use());
  const auto available = static_cast<double>(available_memory());
  const double limit = on_device ? capacity : available > 0 ? available / 2 + loaded : 0;
  RecipeSettings planned = recipe_;
  if (thrift() >= Thrift::small_batches) {  // one chunk a member at once
    planned.batch_tokens = std::min(planned.batch_tokens, recipe_.context_length * share_.size());
  }
  MemoryPlan plan = plan_memory(geometry, planned, type, limit, on_device, share_.size(),
                                model_.positions().attention_rule());
  const double most = on_device ? capacity : available > 0 ? available + loaded : 0;
  if (most > 0 && plan.device_bytes() > most) {
    throw Error(FailureKind::memory,
                fmt::format("recipe '{}': needs {} and {:.1f} GB are there; shorten "
                            "context_length or take a larger device",
                            recipe_.name, plan.text(), most * 1e-9));
  }
  if (thrift() >= Thrift::same_bits) plan.recompute = Recompute::layer;
  const auto agreed =
      share_.of_first({static_cast<double>(plan.recompute), plan.split_sequences ? 1.0 : 0.0});
  plan.recompute = static_cast<Recompute>(static_cast<int>(agreed[0]));
  plan.split_sequences = agreed[1] > 0;
  return plan;
}

/// Fills the batch of a step; returns its count of targets.
int64_t Trainer::fill_batch(int64_t step) {
  const auto n = static_cast<size_t>(recipe_.context_length);
  ids_.resize(static_cast<size_t>(batch_) * n);
  targets_.resize(ids_.size());
  tokens_ = 0;
  documents_.clear();
  int64_t targets = 0;
  for (int64_t i = 0; i < batch_; ++i) {
    const size_t at = static_cast<size_t>(i) * n;
    const int64_t index =
        chunks_.index_at((step - 1) * batch_ + i, static_cast<uint64_t>(task_.fine_tune.seed));
    targets +=
        chunks_.chunk(index, std::span(ids_).subspan(at, n), std::span(targets_).subspan(at, n));
    tokens_ += chunks_.tokens_of(index);
    if (recipe_.separate_documents) documents_.push_back(chunks_.document_lengths(index));
  }
  check_ids(ids_, model_.config().vocabulary, task_.training_data.path);
  return targets;
}

/// One update; nothing when a stop was requested before it.
std::optional<StepRecord> Trainer::train_step(int64_t step) {
  const auto start = Clock::now();
  const int64_t targets = fill_batch(step);
  PositionsOfStep of_step(model_, step);
  const auto nll = accumulate(step, targets);
  of_step.restore();
  if (!nll) return std::nullopt;
  StepRecord record;
  record.step = step;
  record.training_loss = *nll / static_cast<double>(targets);
  record.learning_rate = llama::learning_rate_at(recipe_, step);
  record.gradient_norm = optimizer_.step(recipe_, step);
  record.tokens = tokens_;
  if (validation_ && is_validated(step)) record.validation_loss = validate();
  record.seconds = seconds_since(start);
  return record;
}

/// Gradients of the whole batch; Σ nll over all ranks, or nothing when a stop was requested.
std::optional<double> Trainer::accumulate(int64_t step, int64_t targets) {
  const int64_t turns = splits() ? 1 : share_.size();
  double nll = 0;
  for (int64_t at = 0; at < batch_; at += turns * micro_batch_) {
    if (share_.any(stop_requested(context_))) return std::nullopt;
    const int64_t first = splits() ? at : at + share_.rank() * micro_batch_;
    if (adapters_) adapters_->set_place(step, first * recipe_.context_length);
    nll += pass_over(step, first, std::clamp<int64_t>(batch_ - first, 0, micro_batch_),
                     1.0 / static_cast<double>(targets));
    const int64_t done = std::min(batch_, at + turns * micro_batch_);
    report(step, static_cast<double>(done) / static_cast<double>(batch_));
  }
  return share_.sum(nll);
}

/// Forward and backward over some chunks of the batch; Σ nll of this rank. None: a pass for
/// nothing, since the others need this rank's shards.
double Trainer::pass_over(int64_t step, int64_t first_chunk, int64_t chunks, double loss_scale) {
  if (chunks == 0) {
    const std::array<int32_t, 1> id = {0}, masked = {-1};
    return model_.accumulate_gradients(id, masked, 1, loss_scale, optimizer_.gradients(),
                                       plan_.recompute);
  }
  model_.train_at(training_positions(step, first_chunk, chunks));
  if (recipe_.separate_documents) model_.separate_documents(joined(first_chunk, chunks));
  const auto first = static_cast<size_t>(first_chunk * recipe_.context_length);
  const auto size = static_cast<size_t>(chunks * recipe_.context_length);
  return model_.accumulate_gradients(std::span(ids_).subspan(first, size),
                                     std::span(targets_).subspan(first, size), chunks, loss_scale,
                                     optimizer_.gradients(), plan_.recompute);
}

/// Positions of chunks of a step's batch, where the scheme trains at others than 0, 1, 2, …
std::vector<double> Trainer::training_positions(int64_t step, int64_t first_chunk,
                                                int64_t chunks) const {
  std::vector<double> positions;
  for (int64_t i = 0; i < chunks; ++i) {
    const std::vector<double> of_chunk = model_.positions().training_positions(
        recipe_.context_length, static_cast<uint64_t>(task_.fine_tune.seed),
        (step - 1) * batch_ + first_chunk + i);
    positions.insert(positions.end(), of_chunk.begin(), of_chunk.end());
  }
  return positions;
}

/// The documents' lengths of some chunks of the batch, one after the other.
std::vector<int64_t> Trainer::joined(int64_t first_chunk, int64_t chunks) const {
  std::vector<int64_t> lengths;
  for (int64_t i = first_chunk; i < first_chunk + chunks; ++i) {
    const std::vector<int64_t>& of_chunk = documents_[static_cast<size_t>(i)];
    lengths.insert(lengths.end(), of_chunk.begin(), of_chunk.end());
  }
  return lengths;
}

bool Trainer::is_validated(int64_t step) const {
  return step == recipe_.steps ||
         (recipe_.validate_every > 0 && step % recipe_.validate_every == 0);
}

bool Trainer::diverged(const StepRecord& record, std::string& failure) const {
  const bool measured = validation_ && is_validated(record.step);
  if (!std::isfinite(record.training_loss) || !std::isfinite(record.gradient_norm) ||
      (measured && !std::isfinite(record.validation_loss))) {
    failure = fmt::format("step {}: training loss {}, gradient norm {}", record.step,
                          record.training_loss, record.gradient_norm);
    return true;
  }
  if (!can_stop_early(recipe_)) return false;
  std::vector<double> losses;
  for (const StepRecord& each : records_) losses.push_back(each.training_loss);
  failure = reason_to_stop(recipe_, losses, task_.sibling_medians);
  return !failure.empty();
}

/// All ranks have the same records; one tells them.
void Trainer::report_losses(std::span<const StepRecord> steps) const {
  if (context_.losses && share_.rank() == 0 && !steps.empty()) context_.losses(steps);
}

void Trainer::report(int64_t step, double of_step) const {
  const double done = static_cast<double>(step - 1) + of_step;
  const std::string loss =
      records_.empty() ? "" : fmt::format(", loss {:.4f}", records_.back().training_loss);
  report_progress(context_, done / static_cast<double>(recipe_.steps),
                  fmt::format("step {} of {}{}", step, recipe_.steps, loss));
}

}  // namespace ropesweep::tasks
