// What the fuzzing programs share. The contract they hold: any input gives a value or a
// ropesweep::Error with a message; no other exception, crash, leak or undefined behaviour.
#pragma once

#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "experiments/error.h"
#include "tests/temporary_folder.h"

namespace ropesweep::fuzz {

/// A broken promise ends the program, and libFuzzer keeps the input.
inline void require(bool holds, const char* promise) {
  if (holds) return;
  std::fprintf(stderr, "fuzz: broken: %s\n", promise);
  std::abort();
}

/// Runs `read`; false when it refused its input by our own error.
template <typename Read>
bool accepted(const Read& read) {
  try {
    read();
    return true;
  } catch (const Error& error) {
    require(error.what()[0] != '\0', "an error has a message");
    require(error.kind() == FailureKind::user || error.kind() == FailureKind::transient,
            "a reader's error is the user's or the machine's");
    return false;
  }
}

inline std::string_view text_of(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

/// A file in memory, for readers that want a path.
class MemoryFile {
 public:
  MemoryFile() : descriptor_(::memfd_create("fuzz", 0)) {
    require(descriptor_ >= 0, "memfd_create works");
  }
  ~MemoryFile() { ::close(descriptor_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  void write(std::string_view bytes) const {
    require(::ftruncate(descriptor_, 0) == 0, "ftruncate works");
    require(
        ::pwrite(descriptor_, bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()),
        "pwrite works");
  }
  std::filesystem::path path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }

 private:
  int descriptor_;
};

/// A directory of names that lead to files in memory; goes when the program ends.
class MemoryDirectory {
 public:
  void name(const std::string& name, const MemoryFile& file) const {
    std::filesystem::create_symlink(file.path(), folder_ / name);
  }
  const std::filesystem::path& path() const { return folder_.path(); }

 private:
  TemporaryFolder folder_;
};

}  // namespace ropesweep::fuzz
