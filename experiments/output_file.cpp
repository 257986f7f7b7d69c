// open, write, fsync and rename, each looked at.
#include "experiments/output_file.h"

#include <fcntl.h>

#include <cerrno>
#include <cstring>
#include <system_error>

namespace ropesweep {
namespace {

constexpr size_t kBuffer = size_t{1} << 16;

std::string_view remedy_of(int error) {
  switch (error) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      return "free some space, and run again";
    case EACCES:
    case EPERM:
    case EROFS:
      return "check its permissions and whether its file system may be written, or name another "
             "place";
    case ENOENT:
    case ENOTDIR:
    case ESTALE:
      return "is its directory still there? Run again, or name another place";
    case EMFILE:
    case ENFILE:
      return "raise the limit of open files (ulimit -n)";
    default:
      return "check the disk and the system's log, and run again";
  }
}

}  // namespace

bool FileError::may_pass() const {
  switch (error_) {
    case ENOSPC:
    case EDQUOT:
    case EIO:
    case EREMOTEIO:
    case ESTALE:
    case ETIMEDOUT:
    case ENOTCONN:
    case ECONNREFUSED:
    case ECONNRESET:
    case EHOSTDOWN:
    case EHOSTUNREACH:
      return true;
    default:
      return false;
  }
}

void throw_file_error(const std::filesystem::path& path, std::string_view action, int error) {
  throw FileError(error, fmt::format("{}: cannot {}: {}; {}", path.string(), action,
                                     std::strerror(error), remedy_of(error)));
}

void throw_file_error(const std::filesystem::filesystem_error& error) {
  const bool second = error.path1().empty();
  throw_file_error(second ? error.path2() : error.path1(), "be changed", error.code().value());
}

OutputFile::OutputFile(std::filesystem::path path, Mode mode) : path_(std::move(path)) {
  const int how = mode == Mode::append ? O_APPEND : O_TRUNC;
  do {
    file_.reset(::open(path_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | how, 0666));
  } while (!file_.valid() && errno == EINTR);
  if (!file_.valid()) throw_file_error(path_, "be opened for writing", errno);
}

void OutputFile::write(std::string_view text) {
  buffer_ += text;
  if (buffer_.size() >= kBuffer) flush();
}

void OutputFile::flush() {
  std::string_view rest = buffer_;
  while (!rest.empty()) {
    const ssize_t count = ::write(file_.get(), rest.data(), rest.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) {
      const int why = count < 0 ? errno : EIO;
      buffer_.erase(0, buffer_.size() - rest.size());
      throw_file_error(path_, "be written", why);
    }
    rest.remove_prefix(static_cast<size_t>(count));
  }
  buffer_.clear();
}

void OutputFile::sync() {
  flush();
  while (::fsync(file_.get()) != 0) {
    if (errno != EINTR) throw_file_error(path_, "be synced", errno);
  }
}

void OutputFile::close() {
  if (!is_open()) return;
  flush();
  const int descriptor = file_.release();
  // Some network file systems tell only now that there was no room.
  if (::close(descriptor) != 0 && errno != EINTR) throw_file_error(path_, "be written", errno);
}

namespace {

void sync_for(const std::filesystem::path& path, const std::filesystem::path& named) {
  const OwnedDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid()) throw_file_error(named, "be opened to sync it", errno);
  while (::fsync(file.get()) != 0) {
    // Some network file systems refuse to sync a directory; they order names by themselves.
    if (errno == EINVAL) return;
    if (errno != EINTR) throw_file_error(named, "be synced", errno);
  }
}

}  // namespace

void sync_path(const std::filesystem::path& path) { sync_for(path, path); }

void sync_parent(const std::filesystem::path& path) {
  sync_for(path.has_parent_path() ? path.parent_path() : ".", path);
}

void write_whole(const std::filesystem::path& path, std::string_view text, bool durable) {
  const std::filesystem::path beside = path.string() + ".new-" + std::to_string(::getpid());
  try {
    OutputFile file(beside, OutputFile::Mode::replace);
    file.write(text);
    if (durable) file.sync();
    file.close();
    if (::rename(beside.c_str(), path.c_str()) != 0) throw_file_error(path, "be replaced", errno);
  } catch (const Error&) {
    ::unlink(beside.c_str());
    throw;
  }
  if (durable) sync_parent(path);
}

bool try_write_whole(const std::filesystem::path& path, std::string_view text) {
  try {
    write_whole(path, text, false);
    return true;
  } catch (const Error&) {
    return false;
  }
}

}  // namespace ropesweep
