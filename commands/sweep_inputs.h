// All that a sweep file stands for, read: digests of what it refers to, geometries, grid, and the
// tasks that a store still lacks. Shared by plan, run and submit.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "experiments/shipped_sweeps.h"
#include "experiments/task_pool.h"
#include "storage/results.h"

namespace ropesweep::commands {

/// Of the options that plan, run and submit share.
inline std::string sweep_help() {
  return "the sweep file, or a sweep of the program by its name: " + shipped_sweep_list();
}
inline constexpr const char* kStoreHelp =
    "the store (NAME.h5 beside the sweep file; of a sweep by name, here)";

struct SweepInputs {
  Sweep sweep;
  std::filesystem::path store;  ///< NAME.h5
  Digests digests;
  Geometries geometries;
  Grid grid;
};

/// `sweep_file`: a file or the name of a sweep of the program. `store` empty: default_store.
/// `device` not empty: instead of the sweep's. Digests are taken from NAME.d/digests.json where
/// size and time of change of a file are as they were. `missing_data`: what is not there yet is
/// known by its path, and told here; null: an error. Errors: user errors for the sweep and for
/// everything that it refers to.
SweepInputs read_sweep_inputs(const std::string& sweep_file, const std::filesystem::path& store,
                              const std::string& device = "",
                              std::vector<std::string>* missing_data = nullptr);

/// NAME.h5 beside the sweep file; of a sweep of the program in the current directory.
std::filesystem::path default_store(const Sweep& sweep);

/// The tasks that remain: cells without a settled result and the fine-tunes that they need.
TaskPool remaining_tasks(const SweepInputs& inputs, const StoreContents& contents);

}  // namespace ropesweep::commands
