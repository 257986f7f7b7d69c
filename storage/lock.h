// NAME.d/lock: one writer at a time. The kernel's record lock ends with its process however that
// dies, so a crash never leaves a store locked; the file's text says who holds it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "storage/posix_file.h"

namespace ropesweep {

struct LockHolder {
  std::string host;
  int64_t pid = 0;
};

class StoreLock {
 public:
  /// Takes DIRECTORY/lock. Errors: user error naming host and pid when another process (or another
  /// Store of this one) holds it; transient when the file system can't lock.
  explicit StoreLock(const std::filesystem::path& directory);
  ~StoreLock();
  StoreLock(const StoreLock&) = delete;
  StoreLock& operator=(const StoreLock&) = delete;

 private:
  std::filesystem::path path_;
  OwnedDescriptor file_;
};

/// Who holds DIRECTORY/lock now; nothing when no one does.
std::optional<LockHolder> lock_holder(const std::filesystem::path& directory);

}  // namespace ropesweep
