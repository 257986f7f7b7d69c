// From a grid to tasks: which cells one pass answers, and which fine-tunes are still to be made.
#include "experiments/task.h"

#include <algorithm>
#include <filesystem>
#include <unordered_map>
#include <unordered_set>

#include "experiments/cost.h"
#include "experiments/error.h"
#include "experiments/identity.h"
#include "experiments/position_encoding.h"
#include "experiments/task_pool.h"

namespace ropesweep {
namespace {

class TaskMaker {
 public:
  TaskMaker(const Sweep& sweep, const Grid& grid, const Digests& digests,
            const Geometries& geometries, const std::vector<std::string>& finished,
            const std::string& store_directory)
      : sweep_(sweep),
        grid_(grid),
        digests_(digests),
        geometries_(geometries),
        finished_(finished.begin(), finished.end()),
        directory_(std::filesystem::absolute(store_directory)) {
    for (const FineTune& fine_tune : grid.fine_tunes) fine_tunes_[fine_tune.id] = &fine_tune;
  }

  /// One task after another, so that a million of them need never be there at once.
  void make(const std::function<void(Task)>& take) {
    std::vector<std::vector<uint32_t>> passes;      // cells that one pass answers, by their place
    std::unordered_map<std::string, size_t> place;  // hash of what it is → index
    for (size_t i = 0; i < grid_.cells.size(); ++i) {
      const Cell cell = grid_.cells[i];
      if (finished_.contains(cell.id)) continue;
      need(cell.fine_tune);
      const auto [found, is_new] = place.emplace(short_id(pass_key(cell)), passes.size());
      if (is_new) passes.emplace_back();
      passes[found->second].push_back(static_cast<uint32_t>(i));
    }
    place.clear();
    for (const FineTune& fine_tune : grid_.fine_tunes) {
      if (needed_.contains(fine_tune.id)) take(fine_tune_task(fine_tune));
    }
    for (const std::vector<uint32_t>& cells : passes) {
      Task task = evaluation_task(grid_.cells[cells.front()]);
      for (const uint32_t cell : cells) task.cells.push_back(grid_.cells[cell]);
      take(completed(std::move(task)));
    }
  }

 private:
  /// Marks a fine-tune, what it builds on and what it is compared with, as far as unfinished.
  void need(std::string id) {
    while (!id.empty() && !finished_.contains(id)) {
      const FineTune& fine_tune = *fine_tunes_.at(id);
      if (needed_.insert(id).second) {
        for (const std::string& sibling : fine_tune.compared_with) need(sibling);
      }
      id = fine_tune.parent;
    }
  }

  const DatasetSettings& dataset_of(const Cell& cell) const {
    return sweep_.datasets.at(cell.dataset);
  }

  /// Equal for cells that one pass answers: same weights, positions, data and seed. The context
  /// length counts, except where a causal pass at the longest length holds all the shorter ones.
  std::string pass_key(const Cell& cell) {
    const DatasetSettings& dataset = dataset_of(cell);
    const EffectiveScheme effective = effective_scheme(cell.scheme, cell.eval_scale);
    const bool fusable = is_perplexity_kind(dataset.kind) && dataset.window == "truncated" &&
                         scheme_is_static(effective.scheme);
    auto [measured, is_new] = measured_.try_emplace(cell.dataset);
    if (is_new) measured->second = measurement_identity(dataset, digests_).dump();
    const nlohmann::json key = {weights_key(cell),
                                effective.scheme,
                                effective.scale,
                                measured->second,
                                dataset.keep_samples,
                                cell.seed,
                                fusable ? 0 : cell.context_length};
    return key.dump();
  }

  std::string weights_key(const Cell& cell) const {
    return cell.fine_tune.empty() ? digest_of(digests_, sweep_.models.at(cell.model))
                                  : cell.fine_tune;
  }

  std::string checkpoint_of(const std::string& fine_tune) const {
    return (directory_ / "checkpoints" / fine_tune).string();
  }

  /// The config that a chain of stages starts from; empty: the base model.
  std::string init_of(const std::string& fine_tune) const {
    if (fine_tune.empty()) return "";
    const FineTune& stage = *fine_tunes_.at(fine_tune);
    return stage.parent.empty() ? stage.recipe.init : init_of(stage.parent);
  }

  std::string base_directory(const std::string& model, const std::string& init) const {
    return init.empty() ? sweep_.models.at(model)
                        : std::filesystem::path(init).parent_path().string();
  }

  std::vector<std::string> unfinished(const std::string& fine_tune) const {
    if (fine_tune.empty() || finished_.contains(fine_tune)) return {};
    return {fine_tune};
  }

  /// By the init config's path where the caller read it, else the model's.
  const ModelGeometry& geometry_of(const std::string& model, const std::string& init) const {
    auto found = geometries_.find(init);
    if (found == geometries_.end()) found = geometries_.find(model);
    if (found == geometries_.end()) {
      throw_transient_error("model {}: its geometry was not read", model);
    }
    return found->second;
  }

  Task evaluation_task(const Cell& cell) const {
    const EffectiveScheme effective = effective_scheme(cell.scheme, cell.eval_scale);
    Task task;
    task.kind = TaskKind::evaluation;
    task.model = base_directory(cell.model, init_of(cell.fine_tune));
    task.weights = cell.fine_tune.empty() ? task.model : checkpoint_of(cell.fine_tune);
    task.weights_key = weights_key(cell);
    task.needs = unfinished(cell.fine_tune);
    task.scheme = effective.scheme;
    task.scale = effective.scale;
    task.dataset = dataset_of(cell);
    task.workers = sweep_.workers;
    task.seed = cell.seed;
    return task;
  }

  /// Adds what follows from the cells: their order, the id, the cost.
  Task completed(Task task) const {
    std::sort(task.cells.begin(), task.cells.end(), [](const Cell& a, const Cell& b) {
      return std::tie(a.context_length, a.id) < std::tie(b.context_length, b.id);
    });
    std::string ids;
    std::vector<int64_t> lengths;
    for (const Cell& cell : task.cells) {
      ids += cell.id + "\n";
      lengths.push_back(cell.context_length);
    }
    task.id = short_id(ids);
    task.output = (directory_ / "evaluations" / (task.id + ".jsonl")).string();
    const Cell& first = task.cells.front();
    const ModelGeometry& geometry = geometry_of(first.model, init_of(first.fine_tune));
    const Cost cost = evaluation_cost(geometry, task.dataset, lengths, sweep_.workers.type);
    task.flops = cost.flops;
    task.memory_bytes = cost.memory_bytes;
    return task;
  }

  Task fine_tune_task(const FineTune& fine_tune) const {
    const std::string init = init_of(fine_tune.id);
    Task task;
    task.id = fine_tune.id;
    task.kind = TaskKind::fine_tune;
    task.model = base_directory(fine_tune.model, init);
    if (!fine_tune.parent.empty()) {
      task.weights = checkpoint_of(fine_tune.parent);
      task.weights_key = fine_tune.parent;
    } else if (init.empty()) {
      task.weights = task.model;
      task.weights_key = digest_of(digests_, task.model);
    } else {
      task.weights_key = "init-" + fine_tune.id;  // fresh weights: nobody else's
    }
    task.needs = unfinished(fine_tune.parent);
    task.scheme = fine_tune.scheme;
    task.scale = fine_tune.train_scale;
    task.fine_tune = fine_tune;
    task.training_data = training_data(sweep_, fine_tune.recipe);
    task.validation_data = validation_data(sweep_, fine_tune.recipe);
    task.output = checkpoint_of(fine_tune.id);
    task.workers = sweep_.workers;
    task.seed = fine_tune.seed;
    const ModelGeometry& geometry = geometry_of(fine_tune.model, init);
    const Cost cost =
        fine_tune_cost(geometry, fine_tune.recipe, sweep_.workers.type, sweep_.limits.memory_bytes,
                       sweep_.workers.device != "cpu", sweep_.workers.gpus_per_task);
    task.flops = cost.flops;
    task.memory_bytes = cost.memory_bytes;
    return task;
  }

  const Sweep& sweep_;
  const Grid& grid_;
  const Digests& digests_;
  const Geometries& geometries_;
  std::unordered_set<std::string> finished_, needed_;
  std::map<std::string, std::string> measured_;  ///< by data set, its measurement's identity
  std::filesystem::path directory_;              ///< NAME.d
  std::map<std::string, const FineTune*> fine_tunes_;
};

}  // namespace

std::vector<Task> make_tasks(const Sweep& sweep, const Grid& grid, const Digests& digests,
                             const Geometries& geometries, const std::vector<std::string>& finished,
                             const std::string& store_directory) {
  std::vector<Task> tasks;
  make_tasks(sweep, grid, digests, geometries, finished, store_directory,
             [&tasks](Task task) { tasks.push_back(std::move(task)); });
  return tasks;
}

void make_tasks(const Sweep& sweep, const Grid& grid, const Digests& digests,
                const Geometries& geometries, const std::vector<std::string>& finished,
                const std::string& store_directory, const std::function<void(Task)>& take) {
  TaskMaker(sweep, grid, digests, geometries, finished, store_directory).make(take);
}

}  // namespace ropesweep
