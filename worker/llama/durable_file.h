// Files that are either whole or not there: synced, then renamed into place.
#pragma once

#include <filesystem>
#include <string_view>

#include "experiments/output_file.h"

namespace ropesweep::llama {

using ropesweep::sync_path;

/// Renames and syncs the directory. Errors: transient, naming the file.
void rename_durably(const std::filesystem::path& from, const std::filesystem::path& to);

/// Writes and syncs a small file at its place (the caller renames). Errors: transient, naming it.
void write_synced(const std::filesystem::path& file, std::string_view content);

/// A new directory with those above it. Errors: transient, naming it.
void make_directories(const std::filesystem::path& directory);

}  // namespace ropesweep::llama
