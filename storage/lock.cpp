// POSIX record locks: per process, so a set of what this process holds stands beside them.
#include "storage/lock.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <mutex>
#include <set>

#include "experiments/error.h"
#include "experiments/host_name.h"

namespace ropesweep {
namespace {

std::mutex held_mutex;

// Closing any descriptor of a file drops this process's lock on it: never open one that is held
// here.
std::set<std::string>& held_here() {
  static std::set<std::string> paths;
  return paths;
}

struct flock whole_file(short type) {
  struct flock lock {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  return lock;
}

LockHolder read_holder(const OwnedDescriptor& file, const std::filesystem::path& path) {
  std::string text(512, '\0');
  text.resize(read_at(file, 0, {reinterpret_cast<uint8_t*>(text.data()), text.size()}, path));
  LockHolder holder;
  const size_t space = text.find(' ');
  holder.host = text.substr(0, space);
  if (space != std::string::npos) holder.pid = std::strtoll(text.c_str() + space, nullptr, 10);
  return holder;
}

[[noreturn]] void throw_in_use(const std::filesystem::path& path, const LockHolder& holder) {
  throw_user_error(
      "{}: the store is in use by process {} on host {}; wait for it, or end it, and run again",
      path.parent_path().string(), holder.pid, holder.host);
}

}  // namespace

StoreLock::StoreLock(const std::filesystem::path& directory)
    : path_(std::filesystem::weakly_canonical(directory / "lock")) {
  const std::lock_guard guard(held_mutex);
  if (held_here().contains(path_.string())) throw_in_use(path_, {host_name(), ::getpid()});
  file_ = open_file(path_, O_RDWR | O_CREAT);
  struct flock lock = whole_file(F_WRLCK);
  if (::fcntl(file_.get(), F_SETLK, &lock) != 0) {
    if (errno == EACCES || errno == EAGAIN) throw_in_use(path_, read_holder(file_, path_));
    throw_transient_error("{}: cannot lock: {}; put the store on a file system with locks",
                          path_.string(), std::strerror(errno));
  }
  const std::string text = host_name() + " " + std::to_string(::getpid()) + "\n";
  if (::ftruncate(file_.get(), 0) == 0) {
    write_at(file_, 0, {reinterpret_cast<const uint8_t*>(text.data()), text.size()}, path_);
  }
  held_here().insert(path_.string());
}

StoreLock::~StoreLock() {
  const std::lock_guard guard(held_mutex);
  held_here().erase(path_.string());
}

std::optional<LockHolder> lock_holder(const std::filesystem::path& directory) {
  const std::filesystem::path path = std::filesystem::weakly_canonical(directory / "lock");
  const std::lock_guard guard(held_mutex);
  if (held_here().contains(path.string())) return LockHolder{host_name(), ::getpid()};
  if (!std::filesystem::exists(path)) return std::nullopt;
  const OwnedDescriptor file = open_file(path, O_RDONLY);
  struct flock lock = whole_file(F_RDLCK);  // conflicts with the writer's lock only
  if (::fcntl(file.get(), F_GETLK, &lock) != 0 || lock.l_type == F_UNLCK) return std::nullopt;
  return read_holder(file, path);
}

}  // namespace ropesweep
