// The parts of a sweep file, one reader each. Internal to experiments/.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "experiments/sweep.h"
#include "experiments/sweep_section.h"

namespace ropesweep {

/// parse_sweep of any origin; `file` is what the sweep says of itself.
Sweep parse_sweep(const std::string& text, const SweepOrigin& origin,
                  const std::filesystem::path& file);

/// The kinds of data sets; a kind that needs no path is also a data set of its name.
const std::vector<std::string>& dataset_kinds();

/// [datasets.*]
void read_datasets(SweepSection& section, Sweep& sweep);
/// The data set called `name`, defined or implied by its kind (then added to the sweep).
/// Null where there is none.
const DatasetSettings* find_dataset(Sweep& sweep, const std::string& name);
std::vector<std::string> dataset_names(const Sweep& sweep);

/// [recipes.*], with settings inherited along `from` and data resolved. After the data sets.
void read_recipes(SweepSection& section, Sweep& sweep);
std::vector<std::string> recipe_names(const Sweep& sweep);

/// [axes] and [[exclude]]. After models, data sets and recipes.
void read_axes(SweepSection& section, Sweep& sweep);
void read_exclusions(const TomlValue& list, const SweepOrigin& origin, Sweep& sweep);

/// [workers] and [limits]
void read_workers(SweepSection& section, WorkerSettings& workers);
void read_limits(SweepSection& section, LimitSettings& limits);

/// The recipe that trains nothing; needs no table.
inline constexpr const char* zero_shot = "zero-shot";

}  // namespace ropesweep
