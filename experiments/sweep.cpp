// Reads a sweep file: the top level, models, and what must hold between the parts.
#include "experiments/sweep.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

#include "experiments/shipped_recipes.h"
#include "experiments/sweep_parts.h"

namespace ropesweep {
namespace {

/// [model] path is the model "default"; [models.NAME] path are models by name.
void read_models(SweepSection& top, Sweep& sweep) {
  const auto read_path = [&sweep](SweepSection& section, const std::string& name) {
    std::string path;
    if (!section.read("path", path)) {
      section.reject_unknown();
      section.fail(section.table(), "needs path, a Hugging Face model directory");
    }
    section.reject_unknown();
    sweep.models[name] = section.absolute_path(path);
  };
  if (auto model = top.subsection("model")) read_path(*model, "default");
  if (auto models = top.subsection("models")) {
    for (const auto& [name, value] : models->table().members) {
      auto model = models->subsection(name);
      read_path(*model, name);
    }
  }
}

/// Without a model, a sweep trains from scratch: the directory of the first stage's config stands
/// for it.
void imply_model(Sweep& sweep, const SweepSection& top) {
  if (!sweep.models.empty()) return;
  for (const auto& [name, recipe] : sweep.recipes) {
    if (recipe.init.empty()) continue;
    sweep.models["default"] = std::filesystem::path(recipe.init).parent_path().string();
    return;
  }
  top.fail_at(
      1, "no model: add [model] with path = \"a Hugging Face directory\", or a recipe with init");
}

}  // namespace

Sweep parse_sweep(const std::string& text, const std::filesystem::path& file) {
  return parse_sweep(text, SweepOrigin(file.string()),
                     std::filesystem::absolute(file).lexically_normal());
}

Sweep parse_sweep(const std::string& text, const SweepOrigin& origin,
                  const std::filesystem::path& file) {
  Sweep sweep;
  sweep.file = file;
  sweep.text = text;
  sweep.name = file.stem().string();

  TomlValue document = parse_toml(text, origin.file);
  complete_recipes(document, origin.file);
  SweepSection top(document, "", origin);
  top.read("name", sweep.name);
  read_models(top, sweep);
  auto datasets = top.subsection("datasets");
  auto recipes = top.subsection("recipes");
  auto axes = top.subsection("axes");
  auto workers = top.subsection("workers");
  auto limits = top.subsection("limits");
  const TomlValue* exclude = top.member("exclude");
  top.reject_unknown();

  if (datasets) read_datasets(*datasets, sweep);
  if (recipes) read_recipes(*recipes, sweep);
  imply_model(sweep, top);
  if (!axes) top.fail_at(1, "no [axes]: a sweep needs scheme, context_length and dataset there");
  read_axes(*axes, sweep);
  if (exclude != nullptr) read_exclusions(*exclude, origin, sweep);
  if (workers) read_workers(*workers, sweep.workers);
  if (limits) read_limits(*limits, sweep.limits);
  return sweep;
}

Sweep read_sweep(const std::filesystem::path& file) {
  if (std::filesystem::is_directory(file)) {
    throw_user_error("{}: is a directory, not a sweep file", file.string());
  }
  std::ifstream stream(file, std::ios::binary);
  if (!stream) {
    throw_user_error("{}: can't be read: {}; give the path of a sweep file (TOML)", file.string(),
                     std::strerror(errno));
  }
  std::ostringstream bytes;
  bytes << stream.rdbuf();
  return parse_sweep(bytes.str(), file);
}

}  // namespace ropesweep
