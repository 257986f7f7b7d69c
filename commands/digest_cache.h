// SHA-256 of files and model directories, remembered in NAME.d/digests.json by path, size and time
// of change, so that a sweep that runs again needn't read gigabytes first.
#pragma once

#include <filesystem>
#include <map>
#include <string>

namespace ropesweep::commands {

class DigestCache {
 public:
  /// A missing or malformed cache is an empty one.
  explicit DigestCache(const std::filesystem::path& directory);

  /// Errors: user error when `path`, which `sweep_file` refers to, isn't there or can't be read.
  std::string digest(const std::string& path, const std::filesystem::path& sweep_file);
  /// Written beside and renamed, if the directory exists and something is new. Failures are
  /// ignored.
  void save() const;

 private:
  struct Entry {
    std::string stamp, digest;
  };
  std::filesystem::path file_;
  std::map<std::string, Entry> entries_;
  bool changed_ = false;
};

}  // namespace ropesweep::commands
