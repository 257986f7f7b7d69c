// From a task to its outcome: device, weights, positions, then the task's own code.
#include "worker/tasks/task_runner.h"

#include <chrono>
#include <new>

#include "experiments/identity.h"
#include "worker/tasks/device.h"
#include "worker/tasks/finetune.h"
#include "worker/tasks/memory.h"
#include "worker/tasks/model_cache.h"
#include "worker/tasks/multiple_choice.h"
#include "worker/tasks/perplexity.h"
#include "worker/tasks/retrieval.h"
#include "worker/tasks/runner_group.h"
#include "worker/tasks/thrift.h"

namespace ropesweep::tasks {

namespace {

bool is_retrieval(const std::string& kind) {
  return kind == "lines" || kind == "passkey" || kind == "wikiqa";
}

/// Members of a group hold whole weights to evaluate, each at its own pace, where they take no more
/// of the device than this.
constexpr double kWholeShare = 0.5;

/// A sweep's tasks leave what they make in NAME.d/checkpoints and NAME.d/evaluations.
std::filesystem::path store_directory_of(const Task& task) {
  const std::filesystem::path kind = std::filesystem::path(task.output).parent_path();
  const bool in_store = task.kind == TaskKind::fine_tune ? !task.fine_tune.id.empty()
                                                         : kind.filename() == "evaluations";
  return in_store ? kind.parent_path() : std::filesystem::path();
}

}  // namespace

struct TaskRunner::State {
  State(const std::string& device, int threads)
      : backend(make_backend(device, threads)),
        group(*backend, cuda_number(device)),
        cache(*backend) {}

  /// The group of a place; models that belonged to another are gone.
  backend::Collective* join(const GroupPlace& place) {
    if (!group.is_in(place)) cache.clear();
    return group.join(place);
  }

  void leave_group() {
    if (group.is_alone()) return;
    cache.clear();
    group.leave();
  }

  /// `members` when they share the weights; null when each has room for the whole.
  backend::Collective* sharing_weights(const ModelSource& source, const SampleShare& share,
                                       backend::Collective* members) const {
    if (members == nullptr) return nullptr;
    const llama::Config config = llama::read_config(source.config);
    const double bytes = llama::geometry_of(config).parameters() *
                         (source.type == "f32" || config.type == "f32" ? 4 : 2);
    const auto capacity = static_cast<double>(backend->capacity());
    const double room = capacity > 0 ? capacity : static_cast<double>(available_memory());
    return share.any(bytes > kWholeShare * room) ? members : nullptr;
  }

  void set_positions(llama::Model& model, const Task& task) const {
    const llama::Config& config = model.config();
    const std::string& scheme = task.scheme.empty() ? config.own_scheme : task.scheme;
    const double scale = task.scheme.empty() ? config.own_scale : task.scale;
    model.use_positions(make_position_encoding(scheme, scale, config.rotary, arithmetic));
  }

  /// Of a model's key in the cache: a scheme that learns its positions has a weight more.
  static std::string learned_part(const Task& task, const ModelSource& source) {
    if (task.scheme.empty()) return "";
    const llama::Config config = llama::read_config(source.config);
    const auto positions = make_position_encoding(task.scheme, 1, config.rotary);
    const bool learns = !position_table_shape(config, positions->attention_rule()).empty();
    return learns ? " " + positions->scheme() : "";
  }

  Outcome evaluate(const Task& task, const TaskContext& context, backend::Collective* members) {
    if (task.cells.empty()) throw_user_error("task {}: it has no cells", task.id);
    const std::string key = task.weights_key.empty() ? task.weights : task.weights_key;
    const SampleShare share(*backend, members);
    const ModelSource source = source_of(task);
    backend::Collective* const sharing = sharing_weights(source, share, members);
    const std::string kept = key + " " + task.workers.type + (sharing == nullptr ? "" : " shared") +
                             learned_part(task, source);
    LoadedModel& loaded = cache.get(kept, source, sharing);
    set_positions(*loaded.model, task);
    Outcome outcome;
    outcome.type = backend::name_of(loaded.model->weights().embedding.dtype());
    const std::string device = backend->description();
    const bool keeps = share.rank() == 0;  // the others' results are in its own
    EvaluationProgress progress(
        keeps ? task.output : "",
        fmt::format("{} {} {}", task.id, outcome.type, device.substr(0, device.find(' '))));
    const std::string& kind = task.dataset.kind;
    if (is_perplexity_kind(kind)) {
      outcome.cells = measure_perplexity(*loaded.model, *loaded.tokenizer, task.dataset, task.cells,
                                         share, progress, context);
    } else if (is_retrieval(kind)) {
      outcome.cells = measure_retrieval(*loaded.model, *loaded.tokenizer, task.dataset, task.cells,
                                        share, progress, context);
    } else if (kind == "multiple-choice") {
      outcome.cells = measure_multiple_choice(*loaded.model, *loaded.tokenizer, task.dataset,
                                              task.cells, share, progress, context);
    } else {
      throw_user_error(
          "data set '{}': kind '{}' is unknown; choose text, synthetic-wiki, synthetic-mix, lines, "
          "passkey, wikiqa or multiple-choice",
          task.dataset.name, kind);
    }
    return outcome;
  }

  /// Weights are trained in place, so they are loaded for this task alone; afterwards they are what
  /// its children and cells ask for.
  Outcome train(const Task& task, const TaskContext& context, backend::Collective* members) {
    const SampleShare share(*backend, members);
    ModelSource source = source_of(task);
    source.training = true;
    LoadedModel loaded = load_model(*backend, source, members);
    set_positions(*loaded.model, task);
    const bool resumed_whole =
        std::filesystem::exists(std::filesystem::path(task.output) / "finished.json");
    Outcome outcome =
        fine_tune(*loaded.model, *loaded.tokenizer, loaded.tokenizer_source, task, share, context);
    outcome.type = backend::name_of(loaded.model->weights().embedding.dtype());
    if (outcome.failure_kind == FailureKind::none && !resumed_whole && !task.fine_tune.id.empty()) {
      loaded.key =
          task.fine_tune.id + " " + task.workers.type + (members == nullptr ? "" : " shared");
      cache.put(std::move(loaded));
    }
    return outcome;
  }

  std::unique_ptr<backend::Backend> backend;
  RunnerGroup group;
  ModelCache cache;  // of models in that group
  TableArithmetic arithmetic = TableArithmetic::exact;
};

TaskRunner::TaskRunner(const std::string& device, int threads)
    : state_(std::make_unique<State>(device, threads)) {}

TaskRunner::~TaskRunner() = default;

void TaskRunner::use_arithmetic(TableArithmetic arithmetic) { state_->arithmetic = arithmetic; }

Outcome TaskRunner::run(const Task& task, const TaskContext& of_caller,
                        const GroupPlace& place) try {
  TaskContext context = of_caller;
  context.store_directory = store_directory_of(task);
  const auto start = std::chrono::steady_clock::now();
  Outcome outcome;
  try {
    backend::Collective* const members = state_->join(place);
    if (thrift() != Thrift::none) state_->cache.clear();
    outcome = task.kind == TaskKind::fine_tune ? state_->train(task, context, members)
                                               : state_->evaluate(task, context, members);
  } catch (...) {
    state_->leave_group();  // The others wait for this one: they end too.
    throw;
  }
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  outcome.seconds = elapsed.count();
  outcome.device = state_->backend->description();
  return outcome;
} catch (const std::bad_alloc&) {
  throw Error(
      FailureKind::memory,
      fmt::format(
          "task {}: out of memory, of which its runner had up to {:.2f} GB in tensors; try a "
          "shorter context, bf16, or a machine with more memory",
          task.id, static_cast<double>(state_->backend->peak_bytes()) * 1e-9));
}

}  // namespace ropesweep::tasks
