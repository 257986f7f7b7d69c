// Reading files through SHA-256, a block at a time.
#include "experiments/file_digests.h"

#include <algorithm>
#include <fstream>
#include <sstream>

#include "experiments/error.h"
#include "experiments/sha256.h"

namespace ropesweep {
namespace {

namespace fs = std::filesystem;

constexpr size_t kDigits = 64;

/// What the training leaves beside the weights is no part of them.
bool belongs_to_checkpoint(const fs::path& file) {
  const std::string name = file.filename().string();
  if (name == "finished.json") return false;
  return file.extension() == ".safetensors" || file.extension() == ".json" ||
         name == "tokenizer.model";
}

std::string digest_of(const fs::path& file) {
  std::ifstream stream(file, std::ios::binary);
  if (!stream) throw_transient_error("{}: cannot be read", file.string());
  Sha256 sha;
  sha.add(stream);
  if (stream.bad()) throw_transient_error("{}: reading failed", file.string());
  return sha.hex();
}

}  // namespace

std::string checkpoint_digests(const fs::path& directory) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(directory)) {
    if (entry.is_regular_file() && belongs_to_checkpoint(entry.path())) {
      names.push_back(entry.path().filename().string());
    }
  }
  std::sort(names.begin(), names.end());
  std::string lines;
  for (const std::string& name : names) {
    lines += digest_of(directory / name) + "  " + name + "\n";
  }
  return lines;
}

std::vector<DamagedFile> damaged_files(const fs::path& directory, const std::string& digests) {
  std::vector<DamagedFile> damaged;
  std::istringstream lines(digests);
  for (std::string line; std::getline(lines, line);) {
    const std::string name = line.size() > kDigits + 2 ? line.substr(kDigits + 2) : "";
    if (name.empty() || fs::path(name).filename() != name) {
      damaged.push_back({line, "no line of a digest and a file's name"});
      continue;
    }
    const std::string recorded = line.substr(0, kDigits);
    std::error_code ignored;
    if (!fs::exists(directory / name, ignored)) {
      damaged.push_back({name, "missing"});
      continue;
    }
    try {
      const std::string digest = digest_of(directory / name);
      if (digest != recorded) {
        damaged.push_back(
            {name, fmt::format("its SHA-256 is {}, recorded is {}", digest, recorded)});
      }
    } catch (const Error& error) {
      damaged.push_back({name, error.what()});
    }
  }
  return damaged;
}

}  // namespace ropesweep
