// Digests of the files of a directory, in the lines that `sha256sum` prints and checks. Recorded
// when a fine-tune's weights are written, held against them by `ropesweep check`.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace ropesweep {

/// "DIGEST  NAME\n" for each file of the directory that a loader of a checkpoint or an adapter
/// reads (weights, configs, tokenizer), by name. Errors: transient, naming the file.
std::string checkpoint_digests(const std::filesystem::path& directory);

/// A file that is not what was recorded, and how: "missing", "its SHA-256 is …, recorded is …", or
/// "cannot be read".
struct DamagedFile {
  std::string name, what;
};

/// Those of the recorded files (lines of checkpoint_digests) that differ. Lines that are no such
/// line, or name a file outside the directory, differ too.
std::vector<DamagedFile> damaged_files(const std::filesystem::path& directory,
                                       const std::string& digests);

}  // namespace ropesweep
