// From a task to its outcome: device, weights, positions, then the task's own code.
#include "worker/tasks/task_runner.h"

#include <charconv>
#include <chrono>
#include <new>

#include "experiments/identity.h"
#include "worker/tasks/finetune.h"
#include "worker/tasks/generation.h"
#include "worker/tasks/model_cache.h"
#include "worker/tasks/perplexity.h"

namespace ropesweep::tasks {

int cuda_devices() { return backend::cuda_device_count(); }

namespace {

std::unique_ptr<backend::Backend> make_cuda(const std::string& device, int number) try {
  return backend::make_cuda_backend(number);
} catch (const backend::NoDevice& error) {
  throw_user_error("device '{}': {}; choose cpu, or see nvidia-smi and CUDA_VISIBLE_DEVICES",
                   device, error.what());
}

/// N of "cuda:N".
int cuda_number(const std::string& device) {
  const char* const first = device.data() + std::string("cuda:").size();
  const char* const last = device.data() + device.size();
  int number = 0;
  const auto [end, failure] = std::from_chars(first, last, number);
  if (failure != std::errc() || end != last || number < 0) {
    throw_user_error("device '{}' is unknown; choose cpu, cuda, cuda:N or auto", device);
  }
  return number;
}

}  // namespace

std::unique_ptr<backend::Backend> make_backend(const std::string& device, int threads) {
  if (device == "cpu") return backend::make_cpu_backend(threads);
  if (device == "auto") {
    return cuda_devices() > 0 ? make_cuda(device, 0) : backend::make_cpu_backend(threads);
  }
  if (device == "cuda") return make_cuda(device, 0);
  if (device.starts_with("cuda:")) return make_cuda(device, cuda_number(device));
  throw_user_error("device '{}' is unknown; choose cpu, cuda, cuda:N or auto", device);
}

namespace {

bool is_retrieval(const std::string& kind) {
  return kind == "lines" || kind == "passkey" || kind == "wikiqa";
}

}  // namespace

struct TaskRunner::State {
  State(const std::string& device, int threads)
      : backend(make_backend(device, threads)), cache(*backend) {}

  void set_positions(llama::Model& model, const Task& task) const {
    const llama::Config& config = model.config();
    const std::string& scheme = task.scheme.empty() ? config.own_scheme : task.scheme;
    const double scale = task.scheme.empty() ? config.own_scale : task.scale;
    model.use_positions(make_position_encoding(scheme, scale, config.rotary, arithmetic));
  }

  Outcome evaluate(const Task& task, const TaskContext& context) {
    if (task.cells.empty()) throw_user_error("task {}: it has no cells", task.id);
    const std::string key = task.weights_key.empty() ? task.weights : task.weights_key;
    LoadedModel& loaded = cache.get(key + " " + task.workers.type, source_of(task));
    set_positions(*loaded.model, task);
    Outcome outcome;
    outcome.type = backend::name_of(loaded.model->weights().embedding.dtype());
    const std::string device = backend->description();
    EvaluationProgress progress(task.output, fmt::format("{} {} {}", task.id, outcome.type,
                                                         device.substr(0, device.find(' '))));
    const std::string& kind = task.dataset.kind;
    if (is_perplexity_kind(kind)) {
      outcome.cells = measure_perplexity(*loaded.model, *loaded.tokenizer, task.dataset, task.cells,
                                         progress, context);
    } else if (is_retrieval(kind)) {
      outcome.cells = measure_retrieval(*loaded.model, *loaded.tokenizer, task.dataset, task.cells,
                                        progress, context);
    } else {
      throw_user_error(
          "data set '{}': kind '{}' is unknown; choose text, synthetic-wiki, synthetic-mix, lines, "
          "passkey or wikiqa",
          task.dataset.name, kind);
    }
    return outcome;
  }

  /// Weights are trained in place, so they are loaded for this task alone; afterwards they are what
  /// its children and cells ask for.
  Outcome train(const Task& task, const TaskContext& context) {
    LoadedModel loaded = load_model(*backend, source_of(task));
    set_positions(*loaded.model, task);
    const bool resumed_whole =
        std::filesystem::exists(std::filesystem::path(task.output) / "finished.json");
    Outcome outcome =
        fine_tune(*loaded.model, *loaded.tokenizer, loaded.tokenizer_source, task, context);
    outcome.type = backend::name_of(loaded.model->weights().embedding.dtype());
    if (outcome.failure_kind == FailureKind::none && !resumed_whole && !task.fine_tune.id.empty()) {
      loaded.key = task.fine_tune.id + " " + task.workers.type;
      cache.put(std::move(loaded));
    }
    return outcome;
  }

  std::unique_ptr<backend::Backend> backend;
  ModelCache cache;
  TableArithmetic arithmetic = TableArithmetic::exact;
};

TaskRunner::TaskRunner(const std::string& device, int threads)
    : state_(std::make_unique<State>(device, threads)) {}

TaskRunner::~TaskRunner() = default;

void TaskRunner::use_arithmetic(TableArithmetic arithmetic) { state_->arithmetic = arithmetic; }

Outcome TaskRunner::run(const Task& task, const TaskContext& context) try {
  const auto start = std::chrono::steady_clock::now();
  Outcome outcome = task.kind == TaskKind::fine_tune ? state_->train(task, context)
                                                     : state_->evaluate(task, context);
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  outcome.seconds = elapsed.count();
  outcome.device = state_->backend->description();
  return outcome;
} catch (const std::bad_alloc&) {
  throw Error(
      FailureKind::memory,
      fmt::format("task {}: out of memory with {:.2f} GB of tensors; try a shorter context, "
                  "bf16, or a machine with more memory",
                  task.id, static_cast<double>(state_->backend->bytes_in_use()) * 1e-9));
}

}  // namespace ropesweep::tasks
