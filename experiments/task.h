// What a worker is given: one fine-tune, or one batch of cells that share one pass or one set of
// loaded weights. A task carries all that its runner needs; nothing is looked up elsewhere.
#pragma once

#include <string>
#include <vector>

#include "experiments/grid.h"
#include "experiments/outcome.h"

namespace ropesweep {

/// What is taken for a worker's mean time between failures before any was seen: a day.
inline constexpr double kSecondsBetweenFailures = 86400;

enum class TaskKind { fine_tune, evaluation };

struct Task {
  std::string id;  ///< fine-tune: its id; evaluation: hash of its cells' ids
  TaskKind kind = TaskKind::evaluation;
  std::string model;        ///< absolute directory of the base model (config, tokenizer, weights)
  std::string weights;      ///< absolute directory of the weights to load; empty: start from `init`
  std::string weights_key;  ///< what identifies the loaded weights: fine-tune id, or model digest
  std::vector<std::string> needs;  ///< fine-tune ids that must be finished first
  /// Absolute. Fine-tune: the directory of its checkpoint and saved state; evaluation: the file of
  /// its finished samples, empty: they are not kept.
  std::string output;
  std::string scheme;  ///< effective scheme
  double scale = 1;    ///< effective scale: train scale (fine-tune) or eval scale
  // evaluation
  std::vector<Cell> cells;  ///< differ only in context length and in axes without effect on figures
  DatasetSettings dataset;
  // fine_tune
  FineTune fine_tune;
  DatasetSettings training_data;    ///< resolved from recipe.data; kind and path, or a built set
  DatasetSettings validation_data;  ///< kind empty: none
  /// By step, from medians_of_running_means over fine_tune.compared_with; the coordinator fills it
  /// in when it assigns the task.
  std::vector<double> sibling_medians;
  /// Of one worker, as the sweep has met them; the coordinator fills it in when it assigns the
  /// task.
  double seconds_between_failures = kSecondsBetweenFailures;
  // how
  WorkerSettings workers;
  int64_t seed = 0;
  // cost, by experiments/cost.h
  double flops = 0;
  double memory_bytes = 0;
};

/// A worker's place in the group of workers that runs a task together. A group lasts over tasks, as
/// long as its name stays.
struct GroupPlace {
  std::string name;  ///< new for each group; empty: the worker is alone
  int64_t rank = 0;  ///< 0 … size − 1; rank 0 answers for all
  int64_t size = 1;
  std::string directory;  ///< absolute, seen by all members: where they leave their addresses
};

void to_json(nlohmann::json& json, const GroupPlace& place);
void from_json(const nlohmann::json& json, GroupPlace& place);

void to_json(nlohmann::json& json, const Task& task);
void from_json(const nlohmann::json& json, Task& task);

/// The geometry of a model that the cost needs (read from config.json by the caller).
struct ModelGeometry {
  int64_t layers = 0, width = 0, heads = 0, kv_heads = 0, head_dim = 0, hidden = 0, vocabulary = 0;
  int64_t mlp_matrices = 3;         ///< of a layer: 2 without a gate
  int64_t biases = 0;               ///< elements of all biases, of norms too
  bool tied = false;                ///< the output is the embedding
  double table_parameters() const;  ///< embedding and output
  double parameters() const;
};
using Geometries = std::map<std::string, ModelGeometry>;  ///< model name → geometry

/// Groups the grid's unfinished cells into tasks: cells that one pass answers (truncated perplexity
/// at several lengths under a static scheme) or that share weights, scheme and data set; and one
/// task a fine-tune that some unfinished cell needs and that is not finished itself. Deterministic.
/// `finished`: ids of cells and fine-tunes that the store has. `store_directory`: NAME.d.
std::vector<Task> make_tasks(const Sweep& sweep, const Grid& grid, const Digests& digests,
                             const Geometries& geometries, const std::vector<std::string>& finished,
                             const std::string& store_directory);

}  // namespace ropesweep
