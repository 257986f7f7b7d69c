// The sweeps of experiments/sweeps/, which lie in the program and are used by their bare names:
// `ropesweep run yarn-mini`.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "experiments/sweep.h"

namespace ropesweep {

/// Their names, in alphabetical order.
std::vector<std::string> shipped_sweep_names();
/// "demo, demo-short, …", for help and messages.
std::string shipped_sweep_list();

/// What a command's SWEEP means: the file, or else the sweep of the program that has this name.
/// Errors: those of read_sweep; user error for what is neither, with the names and the nearest.
Sweep find_sweep(const std::string& file_or_name);

/// A sweep of the program. Its `file` is the bare name, so that what lies beside a sweep, the
/// store, lies in the current directory. Relative paths in it are relative to `directory`, or,
/// where that is empty, to experiments/sweeps of the source tree that the program lies in or was
/// built from; those that a `${VARIABLE}` gives, to the current directory. Errors: user error for a
/// path that needs the source tree where there is none; std::out_of_range for an unknown name.
Sweep read_shipped_sweep(const std::string& name, const std::filesystem::path& directory = {});

}  // namespace ropesweep
