// digests.json: {PATH: {"stamp": …, "digest": …}}. A stamp names each file's size, time in
// nanoseconds and inode.
#include "commands/digest_cache.h"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <vector>

#include "experiments/error.h"
#include "experiments/grid.h"
#include "experiments/output_file.h"
#include "worker/data/file_digest.h"
#include "worker/llama/checkpoint.h"

namespace ropesweep::commands {
namespace {

namespace fs = std::filesystem;

/// Of a directory: of each regular file in it, in the order of names.
std::string stamp_of(const fs::path& path) {
  if (!fs::is_directory(path)) {
    return data::file_stamp(path);
  }
  std::vector<std::string> files;
  for (const fs::directory_entry& entry : fs::directory_iterator(path)) {
    if (entry.is_regular_file()) {
      files.push_back(entry.path().filename().string() + " " + data::file_stamp(entry.path()));
    }
  }
  std::sort(files.begin(), files.end());
  return fmt::format("{}", fmt::join(files, "\n"));
}

/// A directory of MMLU's tables is a data set; other directories are checkpoints.
bool holds_tables(const fs::path& path) {
  return !fs::exists(path / "config.json") && !fs::exists(path / "adapter_config.json");
}

/// Of the names and contents of all files in a directory.
std::string tables_digest(const fs::path& path) {
  std::vector<std::string> files;
  for (const fs::directory_entry& entry : fs::directory_iterator(path)) {
    if (entry.is_regular_file()) {
      files.push_back(entry.path().filename().string() + " " + data::file_digest(entry.path()));
    }
  }
  std::sort(files.begin(), files.end());
  return sha256_hex(fmt::format("{}", fmt::join(files, "\n")));
}

}  // namespace

DigestCache::DigestCache(const fs::path& directory) : file_(directory / "digests.json") {
  std::ifstream file(file_);
  const nlohmann::json json = nlohmann::json::parse(file, nullptr, false);
  if (!json.is_object()) {
    return;
  }
  for (const auto& [path, entry] : json.items()) {
    if (entry.is_object() && entry.contains("stamp") && entry["stamp"].is_string() &&
        entry.contains("digest") && entry["digest"].is_string()) {
      entries_[path] = {entry["stamp"], entry["digest"]};
    }
  }
}

std::string DigestCache::digest(const std::string& path, const fs::path& sweep_file) {
  std::error_code error;
  if (!fs::exists(path, error)) {
    throw_user_error("{}: no such file or directory; {} refers to it", path, sweep_file.string());
  }
  const std::string stamp = stamp_of(path);
  if (const auto found = entries_.find(path);
      found != entries_.end() && found->second.stamp == stamp) {
    return found->second.digest;
  }
  changed_ = true;
  const std::string digest = !fs::is_directory(path) ? data::file_digest(path)
                             : holds_tables(path)    ? tables_digest(path)
                                                     : llama::model_digest(path);
  entries_[path] = {stamp, digest};
  return digest;
}

void DigestCache::save() const {
  std::error_code ignored;
  if (!changed_ || !fs::is_directory(file_.parent_path(), ignored)) {
    return;
  }
  nlohmann::json json = nlohmann::json::object();
  for (const auto& [path, entry] : entries_) {
    json[path] = {{"stamp", entry.stamp}, {"digest", entry.digest}};
  }
  try_write_whole(file_, json.dump(1) + "\n");
}

}  // namespace ropesweep::commands
