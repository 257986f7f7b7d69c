// The models that a runner keeps loaded, so that tasks that follow with the same weights start at
// once.
#pragma once

#include <cstdint>
#include <filesystem>
#include <list>
#include <memory>
#include <string>

#include "experiments/task.h"
#include "worker/llama/model.h"
#include "worker/llama/tokenizer.h"

namespace ropesweep::tasks {

/// Where a task's parts are read from.
struct ModelSource {
  std::filesystem::path config;  ///< directory or config.json: shape, and the base of all positions
  /// Directory, of an adapter too, which is merged into its base; empty: fresh weights from `seed`.
  std::filesystem::path weights;
  std::filesystem::path tokenizer;  ///< directory
  std::string type;                 ///< f32 | bf16; empty: the checkpoint's (f16 is read as f32)
  uint64_t seed = 0;
  std::filesystem::path base = {};  ///< of an adapter in `weights` whose own is not there
  std::string scheme = {};          ///< the task's; empty: the checkpoint's own
  bool training = false;  ///< what the scheme learns may be missing, and is drawn from `seed`
};

/// Of a task: the base model gives shape, positions and tokenizer; a task without weights starts
/// from the recipe's `init`, whose directory then gives all three.
ModelSource source_of(const Task& task);

/// A model ready to run; the tokenizer may be shared with others.
struct LoadedModel {
  std::string key;
  std::unique_ptr<llama::Model> model;
  std::shared_ptr<const llama::Tokenizer> tokenizer;
  std::filesystem::path tokenizer_source;
  size_t bytes = 0;  ///< of the weights
};

/// Reads or draws the weights; in a group each rank keeps its shards. The group must outlive the
/// model. Errors: user error for a bad checkpoint, tokenizer or type.
LoadedModel load_model(backend::Backend& backend, const ModelSource& source,
                       backend::Collective* group = nullptr);

/// Least recently used first out: at most four models, and no more bytes than a quarter of the
/// memory that was free at the start (the newest always stays).
class ModelCache {
 public:
  explicit ModelCache(backend::Backend& backend);

  /// The model of `key`, loaded from `source` (in `group`) when it is not held. The reference holds
  /// until the next call.
  LoadedModel& get(const std::string& key, const ModelSource& source,
                   backend::Collective* group = nullptr);
  /// Keeps a model under its key, replacing another of that key.
  LoadedModel& put(LoadedModel loaded);
  bool holds(const std::string& key) const;
  void clear() { models_.clear(); }

 private:
  void make_room(size_t bytes);

  backend::Backend& backend_;
  size_t budget_;
  std::list<LoadedModel> models_;  ///< newest use first
};

}  // namespace ropesweep::tasks
