// stat and OpenSSL.
#include "worker/data/file_digest.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <fstream>

#include "experiments/error.h"
#include "experiments/sha256.h"

namespace ropesweep::data {

std::string file_stamp(const std::filesystem::path& file) {
  struct stat status {};
  if (::stat(file.c_str(), &status) != 0) {
    throw_user_error("{}: {}", file.string(), std::strerror(errno));
  }
  return fmt::format("{} {}.{:09} {}", status.st_size, status.st_mtim.tv_sec,
                     status.st_mtim.tv_nsec, status.st_ino);
}

std::string file_digest(const std::filesystem::path& file, const std::function<void()>& check) {
  std::ifstream stream(file, std::ios::binary);
  Sha256 sha;
  sha.add(stream, check);
  if (!stream.eof()) throw_user_error("{}: can't be read: {}", file.string(), std::strerror(errno));
  return sha.hex();
}

}  // namespace ropesweep::data
