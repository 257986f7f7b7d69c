// [axes] and [[exclude]] of a sweep file: lists of values, each of which something must define.
#include "experiments/position_encoding.h"
#include "experiments/sweep_parts.h"

namespace ropesweep {
namespace {

std::vector<std::string> model_names(const Sweep& sweep) {
  std::vector<std::string> names;
  for (const auto& [name, path] : sweep.models) names.push_back(name);
  return names;
}

/// Reads the values of each axis, absent ones as empty lists.
class AxisReader {
 public:
  AxisReader(SweepSection& section, Sweep& sweep) : section_(section), sweep_(sweep) {}

  std::vector<std::string> models() {
    return named("model", "[models]", [this](const std::string& name) {
      return sweep_.models.contains(name) ? std::vector<std::string>{} : model_names(sweep_);
    });
  }

  std::vector<std::string> datasets() {
    return named("dataset", "[datasets]", [this](const std::string& name) {
      const bool known = find_dataset(sweep_, name) != nullptr;
      return known ? std::vector<std::string>{} : dataset_names(sweep_);
    });
  }

  std::vector<std::string> recipes() {
    return named("recipe", "[recipes]", [this](const std::string& name) {
      const bool known = name == zero_shot || sweep_.recipes.contains(name);
      return known ? std::vector<std::string>{} : recipe_names(sweep_);
    });
  }

  std::vector<std::string> schemes() {
    std::vector<std::string> axis;
    for (const TomlValue* value : section_.values("scheme")) {
      const std::string text = section_.text(*value, "scheme");
      try {
        axis.push_back(canonical_scheme(
            text, [this](const std::string& path) { return section_.absolute_path(path); }));
      } catch (const Error& error) {
        section_.fail(*value, "{}", error.what());
      }
    }
    return axis;
  }

  std::vector<double> train_scales() {
    std::vector<double> axis;
    for (const TomlValue* value : section_.values("train_scale")) {
      axis.push_back(section_.number(*value, "train_scale", {.least = 1}));
    }
    return axis;
  }

  std::vector<EvalScale> eval_scales() {
    std::vector<EvalScale> axis;
    for (const TomlValue* value : section_.values("eval_scale")) {
      if (value->kind != TomlValue::Kind::text) {
        axis.push_back({false, section_.number(*value, "eval_scale", {.least = 1})});
      } else if (value->text == "train") {
        axis.push_back({true, 1});
      } else {
        section_.fail(*value, "eval_scale must be a number or \"train\", not \"{}\"", value->text);
      }
    }
    return axis;
  }

  std::vector<int64_t> integers(const std::string& key, int64_t least) {
    std::vector<int64_t> axis;
    for (const TomlValue* value : section_.values(key)) {
      axis.push_back(section_.integer(*value, key, least));
    }
    return axis;
  }

 private:
  /// Values that must be names; `unknown` gives the known ones when a name is not among them.
  template <typename Unknown>
  std::vector<std::string> named(const std::string& key, const char* where, Unknown unknown) {
    std::vector<std::string> axis;
    for (const TomlValue* value : section_.values(key)) {
      const std::string name = section_.text(*value, key);
      const std::vector<std::string> known = unknown(name);
      if (!known.empty()) {
        section_.fail(*value, "{} \"{}\" is not defined in {}; {}", key, name, where,
                      suggestion(name, known));
      }
      axis.push_back(name);
    }
    return axis;
  }

  SweepSection& section_;
  Sweep& sweep_;
};

constexpr int64_t least_context_length = 2;

template <typename Value>
void set_if_given(std::vector<Value>& axis, std::vector<Value> given) {
  if (!given.empty()) axis = std::move(given);
}

}  // namespace

void read_axes(SweepSection& section, Sweep& sweep) {
  AxisReader reader(section, sweep);
  Axes& axes = sweep.axes;
  set_if_given(axes.model, reader.models());
  axes.scheme = reader.schemes();
  set_if_given(axes.train_scale, reader.train_scales());
  set_if_given(axes.eval_scale, reader.eval_scales());
  axes.context_length = reader.integers("context_length", least_context_length);
  axes.dataset = reader.datasets();
  set_if_given(axes.recipe, reader.recipes());
  set_if_given(axes.seed, reader.integers("seed", 0));
  section.reject_unknown();

  if (section.table().find("model") == nullptr) {
    if (sweep.models.size() > 1) {
      section.fail(section.table(), "needs model, since there are several: {}",
                   fmt::join(model_names(sweep), ", "));
    }
    axes.model = {sweep.models.begin()->first};
  }
  if (axes.scheme.empty()) section.fail(section.table(), "needs scheme, e.g. [\"none\", \"yarn\"]");
  if (axes.context_length.empty()) section.fail(section.table(), "needs context_length, in tokens");
  if (axes.dataset.empty()) section.fail(section.table(), "needs dataset, e.g. [\"passkey\"]");
}

void read_exclusions(const TomlValue& list, const SweepOrigin& origin, Sweep& sweep) {
  if (list.kind != TomlValue::Kind::array) {
    throw_user_error("{}:{}: exclude must be a list of tables: write [[exclude]]", origin.file,
                     list.line);
  }
  for (const TomlValue& item : list.items) {
    SweepSection section(item, "[[exclude]]", origin);
    AxisReader reader(section, sweep);
    Exclusion exclusion;
    exclusion.model = reader.models();
    exclusion.scheme = reader.schemes();
    exclusion.train_scale = reader.train_scales();
    exclusion.eval_scale = reader.eval_scales();
    exclusion.context_length = reader.integers("context_length", least_context_length);
    exclusion.dataset = reader.datasets();
    exclusion.recipe = reader.recipes();
    exclusion.seed = reader.integers("seed", 0);
    section.reject_unknown();
    if (item.members.empty()) section.fail(item, "names no axis: it would leave out every cell");
    sweep.exclusions.push_back(std::move(exclusion));
  }
}

}  // namespace ropesweep
