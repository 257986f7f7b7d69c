// The product of the axes, less exclusions and duplicates, and the fine-tunes that its cells share.
#include "experiments/grid.h"

#include <algorithm>
#include <set>
#include <tuple>
#include <unordered_set>

#include "experiments/identity.h"
#include "experiments/position_encoding.h"
#include "experiments/scheme_text.h"
#include "experiments/sweep_parts.h"

namespace ropesweep {
namespace {

/// One combination of axis values, as the sweep file writes them.
struct Point {
  std::string model, scheme;
  double train_scale = 1;
  EvalScale eval_scale;
  int64_t context_length = 0;
  std::string dataset, recipe;
  int64_t seed = 0;
};

template <typename Value>
bool admits(const std::vector<Value>& values, const Value& value) {
  return values.empty() || std::find(values.begin(), values.end(), value) != values.end();
}

bool admits(const std::vector<EvalScale>& values, const EvalScale& value) {
  return values.empty() || std::any_of(values.begin(), values.end(), [&](const EvalScale& one) {
           return one.as_train == value.as_train && (one.as_train || one.value == value.value);
         });
}

/// Exclusions speak of the values that the file writes, before any axis collapses.
bool matches(const Exclusion& exclusion, const Point& point) {
  return admits(exclusion.model, point.model) && admits(exclusion.scheme, point.scheme) &&
         admits(exclusion.train_scale, point.train_scale) &&
         admits(exclusion.eval_scale, point.eval_scale) &&
         admits(exclusion.context_length, point.context_length) &&
         admits(exclusion.dataset, point.dataset) && admits(exclusion.recipe, point.recipe) &&
         admits(exclusion.seed, point.seed);
}

/// A million cells are planned for; far more would fill the memory before anything is said.
constexpr double kMostPoints = 2e7;

/// Combinations: as many as the axes' lengths multiply to.
size_t point_count(const Axes& axes) {
  double count = 1;
  for (const size_t values :
       {axes.model.size(), axes.scheme.size(), axes.train_scale.size(), axes.eval_scale.size(),
        axes.context_length.size(), axes.dataset.size(), axes.recipe.size(), axes.seed.size()}) {
    count *= static_cast<double>(values);
  }
  if (count > kMostPoints) {
    throw_user_error("the axes span {} points; a sweep has at most {}: split it", count,
                     kMostPoints);
  }
  return static_cast<size_t>(count);
}

/// One of them by its number, last axis fastest.
Point point_at(const Axes& axes, size_t number) {
  Point point;
  const auto take = [&number](const auto& values, auto& value) {
    value = values[number % values.size()];
    number /= values.size();
  };
  take(axes.seed, point.seed);
  take(axes.recipe, point.recipe);
  take(axes.dataset, point.dataset);
  take(axes.context_length, point.context_length);
  take(axes.eval_scale, point.eval_scale);
  take(axes.train_scale, point.train_scale);
  take(axes.scheme, point.scheme);
  take(axes.model, point.model);
  return point;
}

/// Builds cells and fine-tunes one by one; each fine-tune once.
class GridBuilder {
 public:
  GridBuilder(const Sweep& sweep, const Digests& digests) : sweep_(sweep), digests_(digests) {}

  /// Adds the point's cell unless there is one of the same identity.
  void add(const Point& point) {
    Cell cell = collapsed(point);
    cell.fine_tune = point.recipe == zero_shot ? "" : fine_tune_for(point.recipe, cell);
    cell.canonical = canonical_text(cell);
    cell.id = short_id(cell.canonical);
    if (!seen_.insert(cell.id).second) return;
    for (std::string id = cell.fine_tune; !id.empty();) {
      FineTune& fine_tune = grid_.fine_tunes[place_.at(id)];
      fine_tune.shared_by.push_back(cell.id);
      id = fine_tune.parent;
    }
    grid_.cells.push_back(cell);
  }

  Grid take() { return std::move(grid_); }

 private:
  /// The point as its row shows it: "train" resolved, then axes without a meaning set to 1.
  Cell collapsed(const Point& point) const {
    Cell cell;
    cell.model = point.model;
    cell.recipe = point.recipe;
    cell.scheme = point.scheme;
    cell.dataset = point.dataset;
    cell.context_length = point.context_length;
    cell.seed = point.seed;
    const bool trained = point.recipe != zero_shot;
    cell.train_scale = point.train_scale;
    if (trained) {
      cell.train_scale = sweep_.recipes.at(point.recipe).train_scale.value_or(point.train_scale);
    }
    cell.eval_scale = point.eval_scale.as_train ? cell.train_scale : point.eval_scale.value;
    if (!trained) cell.train_scale = 1;
    if (!scheme_takes_scale(point.scheme)) cell.train_scale = cell.eval_scale = 1;
    return cell;
  }

  /// The id of the recipe's fine-tune for this cell, made with all that it builds on.
  std::string fine_tune_for(const std::string& recipe_name, const Cell& cell) {
    return stage_for(sweep_.recipes.at(recipe_name), cell, cell.train_scale);
  }

  /// `scale`: that of the stage built on this one, which holds unless this stage fixes its own.
  std::string stage_for(const RecipeSettings& recipe, const Cell& cell, double scale) {
    auto& known =
        stages_[{&recipe, cell.model, cell.scheme, scale, cell.seed}];  // of many cells the same
    if (!known.empty()) return known;
    const bool scaled = scheme_takes_scale(cell.scheme);
    const double own_scale = scaled ? recipe.train_scale.value_or(scale) : 1;
    FineTune fine_tune;
    if (!recipe.from.empty()) {
      fine_tune.parent = stage_for(sweep_.recipes.at(recipe.from), cell, own_scale);
    }
    const EffectiveScheme effective = effective_scheme(cell.scheme, own_scale);
    fine_tune.model = cell.model;
    fine_tune.scheme = effective.scheme;
    fine_tune.train_scale = effective.scale;
    fine_tune.seed = cell.seed;
    fine_tune.recipe = recipe;
    fine_tune.canonical = canonical_text(fine_tune);
    if (recipe.stop_if_above_median_of > 0) compare(fine_tune);
    fine_tune.id = short_id(fine_tune.canonical);
    if (place_.emplace(fine_tune.id, grid_.fine_tunes.size()).second) {
      grid_.fine_tunes.push_back(fine_tune);
    }
    return known = fine_tune.id;
  }

  /// Names its siblings of the median rule, and makes them a part of what it is known by: the same
  /// settings beside other siblings may end elsewhere.
  void compare(FineTune& fine_tune) {
    const auto [place, is_new] = compared_with_.try_emplace(fine_tune.canonical);
    if (is_new) {
      std::vector<std::string>& first = first_of_[{fine_tune.recipe.name, fine_tune.model}];
      if (static_cast<int64_t>(first.size()) < fine_tune.recipe.stop_if_above_median_of) {
        first.push_back(short_id(fine_tune.canonical));
      } else {
        place->second = first;
      }
    }
    fine_tune.compared_with = place->second;
    if (!fine_tune.compared_with.empty()) fine_tune.canonical = canonical_text(fine_tune);
  }

  std::string canonical_text(const FineTune& fine_tune) const {
    nlohmann::json identity = {{"stage", stage_identity(sweep_, fine_tune.recipe, digests_)},
                               {"scheme", scheme_identity(fine_tune.scheme, digests_)},
                               {"scale", fine_tune.train_scale},
                               {"seed", fine_tune.seed},
                               {"type", sweep_.workers.type}};
    if (!fine_tune.parent.empty()) {
      identity["parent"] = fine_tune.parent;
    } else if (!fine_tune.recipe.init.empty()) {
      identity["init"] = init_identity(fine_tune.recipe.init, digests_);
    } else {
      identity["model"] = model_digest(fine_tune.model);
    }
    if (!fine_tune.compared_with.empty()) identity["compared_with"] = fine_tune.compared_with;
    return identity.dump();
  }

  std::string canonical_text(const Cell& cell) const {
    nlohmann::json identity = {{"scheme", scheme_identity(cell.scheme, digests_)},
                               {"train_scale", cell.train_scale},
                               {"eval_scale", cell.eval_scale},
                               {"context_length", cell.context_length},
                               {"data", data_of(cell.dataset)},
                               {"seed", cell.seed},
                               {"type", sweep_.workers.type}};
    if (cell.fine_tune.empty()) {
      identity["model"] = model_digest(cell.model);
    } else {
      identity["fine_tune"] = cell.fine_tune;
    }
    return identity.dump();
  }

  const nlohmann::json& data_of(const std::string& dataset) const {
    const auto [found, is_new] = data_.try_emplace(dataset);
    if (is_new) found->second = measurement_identity(sweep_.datasets.at(dataset), digests_);
    return found->second;
  }

  const std::string& model_digest(const std::string& model) const {
    return digest_of(digests_, sweep_.models.at(model));
  }

  const Sweep& sweep_;
  const Digests& digests_;
  Grid grid_;
  std::unordered_set<std::string> seen_;
  mutable std::map<std::string, nlohmann::json> data_;  ///< by data set
  std::map<std::string, size_t> place_;                 ///< fine-tune id → index
  /// By stage, model, scheme, scale and seed.
  std::map<std::tuple<const RecipeSettings*, std::string, std::string, double, int64_t>,
           std::string>
      stages_;
  /// Of a stage and a model: the ids of the first fine-tunes. Of a canonical text: with whom.
  std::map<std::pair<std::string, std::string>, std::vector<std::string>> first_of_;
  std::map<std::string, std::vector<std::string>> compared_with_;
};

/// True when the scale axes say anything but 1.
bool scales_vary(const Axes& axes) {
  const auto not_one = [](double scale) { return scale != 1; };
  return std::any_of(axes.train_scale.begin(), axes.train_scale.end(), not_one) ||
         std::any_of(axes.eval_scale.begin(), axes.eval_scale.end(),
                     [](const EvalScale& scale) { return !scale.as_train && scale.value != 1; });
}

/// Which axes mean nothing to which schemes and recipes.
std::vector<std::string> collapse_notes(const Sweep& sweep) {
  std::vector<std::string> notes;
  const Axes& axes = sweep.axes;
  for (const std::string& scheme : std::set(axes.scheme.begin(), axes.scheme.end())) {
    if (scheme_takes_scale(scheme) || !scales_vary(axes)) continue;
    notes.push_back(
        fmt::format("{} has no scale: train_scale and eval_scale collapse to 1", scheme));
  }
  for (const std::string& recipe : std::set(axes.recipe.begin(), axes.recipe.end())) {
    if (recipe == zero_shot) {
      if (axes.train_scale == std::vector<double>{1}) continue;
      notes.emplace_back(
          "zero-shot trains nothing: train_scale collapses to 1 (\"train\" in eval_scale still "
          "takes each of its values)");
    } else if (const auto fixed = sweep.recipes.at(recipe).train_scale) {
      notes.push_back(fmt::format("{} fixes train_scale at {}: the axis collapses to it", recipe,
                                  shortest_number(*fixed)));
    }
  }
  return notes;
}

}  // namespace

Grid expand(const Sweep& sweep, const Digests& digests) {
  GridBuilder builder(sweep, digests);
  std::vector<size_t> excluded(sweep.exclusions.size(), 0);
  size_t kept = 0;
  for (size_t number = 0; number < point_count(sweep.axes); ++number) {
    const Point point = point_at(sweep.axes, number);
    const auto first =
        std::find_if(sweep.exclusions.begin(), sweep.exclusions.end(),
                     [&point](const Exclusion& exclusion) { return matches(exclusion, point); });
    if (first != sweep.exclusions.end()) {
      ++excluded[static_cast<size_t>(first - sweep.exclusions.begin())];
      continue;
    }
    ++kept;
    builder.add(point);
  }
  Grid grid = builder.take();
  grid.notes = collapse_notes(sweep);
  for (size_t i = 0; i < excluded.size(); ++i) {
    grid.notes.push_back(excluded[i] > 0
                             ? fmt::format("exclude {} leaves out {} points", i + 1, excluded[i])
                             : fmt::format("exclude {} leaves out nothing (more)", i + 1));
  }
  if (kept > grid.cells.size()) {
    grid.notes.push_back(fmt::format("{} of {} points are the same as another and vanish",
                                     kept - grid.cells.size(), kept));
  }
  return grid;
}

std::vector<std::string> referenced_paths(const Sweep& sweep) {
  std::set<std::string> paths;
  const auto add_data = [&paths](const DatasetSettings& dataset) {
    if (!dataset.path.empty()) paths.insert(dataset.path);
    if (!dataset.shots_path.empty()) paths.insert(dataset.shots_path);
  };
  for (const std::string& name : sweep.axes.dataset) add_data(sweep.datasets.at(name));
  for (const std::string& scheme : sweep.axes.scheme) {
    const std::vector<std::string> files = scheme_files(scheme);
    paths.insert(files.begin(), files.end());
  }
  bool from_models = false;
  for (const std::string& name : sweep.axes.recipe) {
    const RecipeSettings* stage = name == zero_shot ? nullptr : &sweep.recipes.at(name);
    std::string init;
    for (; stage != nullptr;
         stage = stage->from.empty() ? nullptr : &sweep.recipes.at(stage->from)) {
      add_data(training_data(sweep, *stage));
      add_data(validation_data(sweep, *stage));
      init = stage->init;
    }
    if (init.empty()) {
      from_models = true;
    } else {
      paths.insert({init, init_tokenizer(init)});
    }
  }
  if (from_models) {
    for (const std::string& model : sweep.axes.model) paths.insert(sweep.models.at(model));
  }
  return {paths.begin(), paths.end()};
}

}  // namespace ropesweep
