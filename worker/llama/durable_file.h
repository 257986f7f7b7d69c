// Files that are either whole or not there: synced, then renamed into place.
#pragma once

#include <filesystem>
#include <string_view>

namespace ropesweep::llama {

/// Syncs a file's (or a directory's) content to the disk. Errors: transient, naming it.
void sync_path(const std::filesystem::path& path);

/// Renames and syncs the directory. Errors: transient, naming both.
void rename_durably(const std::filesystem::path& from, const std::filesystem::path& to);

/// Writes and syncs a small file at its place (the caller renames). Errors: transient, naming it.
void write_synced(const std::filesystem::path& file, std::string_view content);

}  // namespace ropesweep::llama
