// A parsed sweep file: what the user wrote, checked, with paths made absolute. Nothing is expanded
// here.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "experiments/settings.h"

namespace ropesweep {

/// An entry of `eval_scale`: a number, or "train" (the cell's own train scale).
struct EvalScale {
  bool as_train = false;
  double value = 1;
};

struct Axes {
  std::vector<std::string> model = {"default"};
  std::vector<std::string> scheme;  ///< canonical texts
  std::vector<double> train_scale = {1};
  std::vector<EvalScale> eval_scale = {{true, 1}};
  std::vector<int64_t> context_length;
  std::vector<std::string> dataset;
  std::vector<std::string> recipe = {"zero-shot"};
  std::vector<int64_t> seed = {0};
};

/// One [[exclude]]: a cell that matches every axis named here is left out. Empty list: any value.
struct Exclusion {
  std::vector<std::string> model, scheme, dataset, recipe;
  std::vector<double> train_scale;
  std::vector<EvalScale> eval_scale;
  std::vector<int64_t> context_length, seed;
};

struct Sweep {
  std::string name;
  std::filesystem::path file;                 ///< absolute; of a shipped sweep its name
  std::string text;                           ///< the file's bytes, for provenance
  std::map<std::string, std::string> models;  ///< name → absolute directory
  Axes axes;
  std::vector<Exclusion> exclusions;
  std::map<std::string, RecipeSettings> recipes;
  std::map<std::string, DatasetSettings> datasets;
  WorkerSettings workers;
  LimitSettings limits;
};

/// Reads and checks a sweep file. Errors: user error "FILE:LINE: what; nearest known name or
/// remedy" for anything unknown, mistyped or inconsistent (an axis value that nothing defines, a
/// cycle of `from`).
Sweep read_sweep(const std::filesystem::path& file);

/// The same from text; `file` gives the name in errors and the directory of relative paths.
Sweep parse_sweep(const std::string& text, const std::filesystem::path& file);

}  // namespace ropesweep
