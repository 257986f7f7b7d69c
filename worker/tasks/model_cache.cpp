// Loading models and keeping the last few.
#include "worker/tasks/model_cache.h"

#include <algorithm>

#include "experiments/error.h"
#include "worker/llama/lora_files.h"
#include "worker/tasks/memory.h"

namespace ropesweep::tasks {

namespace fs = std::filesystem;

namespace {

constexpr size_t kMostModels = 4;

backend::Dtype dtype_of(const std::string& type, const llama::Config& config) {
  const std::string& name = type.empty() ? config.type : type;
  if (name == "bf16") return backend::Dtype::bf16;
  if (name == "f32" || (name == "f16" && type.empty())) return backend::Dtype::f32;
  throw_user_error("type '{}' is unknown; choose f32 or bf16", name);
}

fs::path directory_of(const fs::path& config) {
  return fs::is_directory(config) ? config : config.parent_path();
}

size_t bytes_of(const llama::Weights& weights) {
  size_t bytes = 0;
  for (const auto& named : llama::named_tensors(weights)) bytes += named.tensor.bytes();
  return bytes;
}

/// Extents of what the source's scheme learns; empty: nothing.
std::vector<int64_t> learned_by(const ModelSource& source, const llama::Config& config) {
  if (source.scheme.empty()) return {};
  const auto positions = make_position_encoding(source.scheme, 1, config.rotary);
  return llama::position_table_shape(config, positions->attention_rule());
}

}  // namespace

ModelSource source_of(const Task& task) {
  ModelSource source;
  source.weights = task.weights;
  source.type = task.workers.type;
  source.seed = static_cast<uint64_t>(task.fine_tune.seed);
  source.scheme = task.scheme;
  // Weights made from `init` may have no base model: their own directory tells all.
  const fs::path base = task.weights.empty() ? fs::path(task.fine_tune.recipe.init)
                        : fs::exists(fs::path(task.model) / "config.json") ? fs::path(task.model)
                                                                           : source.weights;
  if (base.empty())
    throw_user_error("task {}: neither weights nor an init config are given", task.id);
  source.config = base;
  if (base != source.weights) source.base = directory_of(base);
  source.tokenizer = llama::tokenizer_directory(directory_of(base));
  if (!llama::has_tokenizer(source.tokenizer) && !source.weights.empty()) {
    source.tokenizer = source.weights;
  }
  return source;
}

LoadedModel load_model(backend::Backend& backend, const ModelSource& source,
                       backend::Collective* group) {
  llama::Config config = llama::read_config(source.config);
  const std::vector<int64_t> learned = learned_by(source, config);
  if (!learned.empty()) config.position_table = learned;
  const backend::Dtype type = dtype_of(source.type, config);
  LoadedModel loaded;
  loaded.tokenizer = llama::read_tokenizer(source.tokenizer);
  loaded.tokenizer_source = source.tokenizer;
  const llama::WeightParts parts(backend, config, group);
  llama::Weights weights =
      source.weights.empty()
          ? llama::init_weights(backend, config, type, source.seed, &parts)
          : llama::load_merged_weights(backend, source.weights, source.base, config, type, &parts);
  if (!config.position_table.empty() && weights.position_table.empty()) {
    if (!source.training) {
      throw_user_error(
          "{}: these weights have not learned the positions of scheme {}; train them "
          "with it first",
          source.weights.string(), source.scheme);
    }
    weights.position_table = llama::init_position_table(backend, config, type, source.seed, &parts);
  }
  loaded.bytes = bytes_of(weights);
  loaded.model = std::make_unique<llama::Model>(backend, config, std::move(weights), group);
  return loaded;
}

ModelCache::ModelCache(backend::Backend& backend)
    : backend_(backend), budget_(available_memory() / 4) {}

bool ModelCache::holds(const std::string& key) const {
  return std::any_of(models_.begin(), models_.end(),
                     [&](const LoadedModel& loaded) { return loaded.key == key; });
}

LoadedModel& ModelCache::get(const std::string& key, const ModelSource& source,
                             backend::Collective* group) {
  const auto found = std::find_if(models_.begin(), models_.end(),
                                  [&](const LoadedModel& loaded) { return loaded.key == key; });
  if (found != models_.end()) {
    models_.splice(models_.begin(), models_, found);
    return models_.front();
  }
  // What a new model takes is not known before it is read; the oldest go first if memory is short.
  make_room(models_.empty() ? 0 : models_.front().bytes);
  LoadedModel loaded = load_model(backend_, source, group);
  loaded.key = key;
  return put(std::move(loaded));
}

LoadedModel& ModelCache::put(LoadedModel loaded) {
  models_.remove_if([&](const LoadedModel& held) { return held.key == loaded.key; });
  make_room(loaded.bytes);
  models_.push_front(std::move(loaded));
  return models_.front();
}

void ModelCache::make_room(size_t bytes) {
  const auto held = [&] {
    size_t sum = bytes;
    for (const LoadedModel& loaded : models_) sum += loaded.bytes;
    return sum;
  };
  while (!models_.empty() && (models_.size() >= kMostModels || held() > budget_)) {
    models_.pop_back();
  }
}

}  // namespace ropesweep::tasks
