// fsync and rename with errors that name the file.
#include "worker/llama/durable_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <system_error>

#include "experiments/error.h"

namespace ropesweep::llama {

void sync_path(const std::filesystem::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) {
    throw_transient_error("{}: cannot be opened to sync: {}", path.string(), std::strerror(errno));
  }
  const int failed = ::fsync(descriptor) != 0 ? errno : 0;
  ::close(descriptor);
  if (failed != 0) {
    throw_transient_error("{}: cannot be synced: {}", path.string(), std::strerror(failed));
  }
}

void rename_durably(const std::filesystem::path& from, const std::filesystem::path& to) {
  std::error_code failure;
  std::filesystem::rename(from, to, failure);
  if (failure) {
    throw_transient_error("{}: cannot be renamed to {}: {}", from.string(), to.string(),
                          failure.message());
  }
  const std::filesystem::path parent = to.parent_path();
  sync_path(parent.empty() ? "." : parent);
}

void write_synced(const std::filesystem::path& file, std::string_view content) {
  std::ofstream stream(file, std::ios::binary | std::ios::trunc);
  stream.write(content.data(), static_cast<std::streamsize>(content.size()));
  stream.close();
  if (!stream) throw_transient_error("{}: cannot be written; is the disk full?", file.string());
  sync_path(file);
}

}  // namespace ropesweep::llama
