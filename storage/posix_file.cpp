// Thin, checked wrappers over POSIX file calls.
#include "storage/posix_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "experiments/output_file.h"

namespace ropesweep {
namespace {

[[noreturn]] void fail(const std::filesystem::path& path, const char* action, int error) {
  throw_file_error(path, std::string("be ") + action, error);
}

}  // namespace

OwnedDescriptor open_file(const std::filesystem::path& path, int flags, unsigned mode) {
  for (;;) {
    const int descriptor = ::open(path.c_str(), flags | O_CLOEXEC, static_cast<mode_t>(mode));
    if (descriptor >= 0) return OwnedDescriptor(descriptor);
    if (errno != EINTR) fail(path, (flags & O_CREAT) ? "created" : "opened", errno);
  }
}

void write_at(const OwnedDescriptor& file, int64_t offset, std::span<const uint8_t> bytes,
              const std::filesystem::path& path) {
  while (!bytes.empty()) {
    const ssize_t written = ::pwrite(file.get(), bytes.data(), bytes.size(), offset);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) fail(path, "written", written < 0 ? errno : EIO);
    bytes = bytes.subspan(static_cast<size_t>(written));
    offset += written;
  }
}

size_t read_at(const OwnedDescriptor& file, int64_t offset, std::span<uint8_t> bytes,
               const std::filesystem::path& path) {
  size_t total = 0;
  while (total < bytes.size()) {
    const ssize_t count = ::pread(file.get(), bytes.data() + total, bytes.size() - total,
                                  offset + static_cast<int64_t>(total));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail(path, "read", errno);
    if (count == 0) break;
    total += static_cast<size_t>(count);
  }
  return total;
}

int64_t file_size(const OwnedDescriptor& file, const std::filesystem::path& path) {
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) fail(path, "read", errno);
  return status.st_size;
}

std::vector<uint8_t> read_file(const std::filesystem::path& path) {
  const OwnedDescriptor file = open_file(path, O_RDONLY);
  std::vector<uint8_t> bytes(static_cast<size_t>(file_size(file, path)));
  bytes.resize(read_at(file, 0, bytes, path));
  return bytes;
}

void sync_data(const OwnedDescriptor& file, const std::filesystem::path& path) {
  while (::fdatasync(file.get()) != 0) {
    if (errno != EINTR) fail(path, "synced", errno);
  }
}

void resize_file(const OwnedDescriptor& file, int64_t bytes, const std::filesystem::path& path) {
  while (::ftruncate(file.get(), bytes) != 0) {
    if (errno != EINTR) fail(path, "resized", errno);
  }
}

void replace_file(const std::filesystem::path& path, std::span<const uint8_t> bytes) {
  replace_file(path, [bytes](const OwnedDescriptor& file, const std::filesystem::path& beside) {
    write_at(file, 0, bytes, beside);
  });
}

void replace_file(const std::filesystem::path& path, const FileWriter& write) {
  std::filesystem::path beside = path;
  beside += ".new";
  try {
    const OwnedDescriptor file = open_file(beside, O_RDWR | O_CREAT | O_TRUNC);
    write(file, beside);
    sync_data(file, beside);
    if (::rename(beside.c_str(), path.c_str()) != 0) fail(path, "replaced", errno);
  } catch (...) {
    ::unlink(beside.c_str());
    throw;
  }
  sync_parent(path);
}

}  // namespace ropesweep
