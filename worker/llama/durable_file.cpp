// Renames and small files, with errors that name the file.
#include "worker/llama/durable_file.h"

#include <cerrno>
#include <cstdio>
#include <system_error>

namespace ropesweep::llama {

void rename_durably(const std::filesystem::path& from, const std::filesystem::path& to) {
  if (std::rename(from.c_str(), to.c_str()) != 0) {
    throw_file_error(from, "be renamed to " + to.string(), errno);
  }
  sync_parent(to);
}

void write_synced(const std::filesystem::path& file, std::string_view content) {
  OutputFile stream(file, OutputFile::Mode::replace);
  stream.write(content);
  stream.sync();
  stream.close();
}

void make_directories(const std::filesystem::path& directory) {
  std::error_code failure;
  std::filesystem::create_directories(directory, failure);
  if (failure) throw_file_error(directory, "be created", failure.value());
}

}  // namespace ropesweep::llama
