// What is cut or replaced is kept under a name of its own, for those who want to look at it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace ropesweep {

/// DIRECTORY/STEM-N with END, with the first N from 1 that is free.
std::filesystem::path free_name(const std::filesystem::path& directory, const std::string& stem,
                                const std::string& end = "");

/// A second name for a file's bytes: a link, or a copy where there are no links. Errors: transient.
void keep_file(const std::filesystem::path& file, const std::filesystem::path& name);

/// A file with the bytes from `from` to the end. Errors: transient.
void keep_tail(const std::filesystem::path& file, int64_t from, const std::filesystem::path& name);

}  // namespace ropesweep
