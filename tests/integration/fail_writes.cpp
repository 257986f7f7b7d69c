// A library to preload (LD_PRELOAD) that makes file systems fail: the n-th call of a process that
// would change something below a directory ends with ENOSPC, EIO, EROFS, is cut short or stalls.
// disk_faults_test.py uses it; nothing of the program knows it.
//
// The calls are caught at the system's own door (a seccomp filter that raises SIGSYS), so that
// those made inside libc, libstdc++ and HDF5 are among them, each exactly once. A call that is let
// through goes out again with a mark in its unused sixth argument, which the filter knows.
//
// Settings, from the environment:
//   FAIL_WRITES_BELOW    absolute directory
//   FAIL_WRITES_ROLE     coordinator | shepherd | runner | launcher | single | script (Python)
//   FAIL_WRITES_ERROR    an errno; 0: a write is cut short; -S: a call takes S seconds
//   FAIL_WRITES_SECONDS  0: once; S: all calls for S seconds from the n-th; -1: all from the n-th
//   FAIL_WRITES_CLOSE    1: close of a file open for writing is one of the calls
//   FAIL_WRITES_STATE    a file that holds one State, shared by the processes of a run
//   FAIL_WRITES_LOG      a file: "number pid call path" of each call
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <ucontext.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string_view>

#if !defined(__x86_64__)
#error "registers of x86-64"
#endif

namespace {

constexpr long kMark = 0x5741524b;  // in the sixth argument of our own calls
constexpr size_t kPath = 4096;

/// Shared through a file, so that "once" is once whatever the number of processes.
struct State {
  std::atomic<int64_t> calls;      ///< so far
  int64_t fail_at;                 ///< number of the call that fails, from 1; 0: none
  std::atomic<int64_t> failed_at;  ///< nanoseconds of CLOCK_MONOTONIC; 0: not yet
  std::atomic<int64_t> failures;
};

struct Settings {
  std::string_view below;
  long error = 0;
  double seconds = 0;
  int log = -1;
  State* state = nullptr;
};
Settings settings;

struct Call {
  int number;
  const char* name;
  int path, other;  ///< arguments that are paths, or -1
  int descriptor;   ///< the argument that is one (of the path's directory, too), or -1
};
// By name a call changes a directory, by descriptor a file.
constexpr std::array kCalls = {
    Call{SYS_write, "write", -1, -1, 0},
    Call{SYS_pwrite64, "pwrite", -1, -1, 0},
    Call{SYS_writev, "writev", -1, -1, 0},
    Call{SYS_pwritev, "pwritev", -1, -1, 0},
    Call{SYS_fsync, "fsync", -1, -1, 0},
    Call{SYS_fdatasync, "fdatasync", -1, -1, 0},
    Call{SYS_ftruncate, "ftruncate", -1, -1, 0},
    Call{SYS_fallocate, "fallocate", -1, -1, 0},
    Call{SYS_sendfile, "sendfile", -1, -1, 0},
    Call{SYS_copy_file_range, "copy", -1, -1, 2},
    Call{SYS_truncate, "truncate", 0, -1, -1},
    Call{SYS_rename, "rename", 0, 1, -1},
    Call{SYS_renameat, "rename", 1, 3, 0},
    Call{SYS_renameat2, "rename", 1, 3, 0},
    Call{SYS_mkdir, "mkdir", 0, -1, -1},
    Call{SYS_mkdirat, "mkdir", 1, -1, 0},
    Call{SYS_link, "link", 0, 1, -1},
    Call{SYS_linkat, "link", 1, 3, 0},
    Call{SYS_symlink, "symlink", 1, -1, -1},
    Call{SYS_symlinkat, "symlink", 2, -1, 1},
    Call{SYS_unlink, "unlink", 0, -1, -1},
    Call{SYS_unlinkat, "unlink", 1, -1, 0},
    Call{SYS_rmdir, "rmdir", 0, -1, -1},
    Call{SYS_creat, "create", 0, -1, -1},
    Call{SYS_open, "open", 0, -1, -1},
    Call{SYS_openat, "open", 1, -1, 0},
    Call{SYS_close, "close", -1, -1, 0},
};

long pass(long number, const long (&a)[6]) {
  const long result = ::syscall(number, a[0], a[1], a[2], a[3], a[4], kMark);
  return result < 0 ? -errno : result;
}

long raw_open(const char* path, int flags) {
  const long a[6] = {AT_FDCWD, reinterpret_cast<long>(path), flags, 0666, 0, 0};
  return pass(SYS_openat, a);
}

int64_t nanoseconds() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * int64_t{1000000000} + now.tv_nsec;
}

/// The path behind a descriptor; empty for sockets, pipes and what was removed.
std::string_view path_of(int descriptor, char (&room)[kPath]) {
  char link[64];
  if (descriptor == AT_FDCWD) {
    std::snprintf(link, sizeof link, "/proc/self/cwd");
  } else {
    std::snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  }
  const ssize_t count = ::readlink(link, room, sizeof room - 1);
  return count > 0 && room[0] == '/' ? std::string_view(room, static_cast<size_t>(count))
                                     : std::string_view();
}

/// An absolute path of `name`, which may be relative to a directory's descriptor.
std::string_view absolute(int directory, const char* name, char (&room)[kPath]) {
  if (name[0] == '/') return name;
  const std::string_view parent = path_of(directory, room);
  if (parent.size() + std::strlen(name) + 2 > sizeof room) return {};
  room[parent.size()] = '/';
  std::strcpy(room + parent.size() + 1, name);
  return {room, parent.size() + 1 + std::strlen(name)};
}

bool is_below(std::string_view path) {
  return path.starts_with(settings.below) &&
         (path.size() == settings.below.size() || path[settings.below.size()] == '/');
}

/// The path that a call changes; empty when it is none of ours.
std::string_view target_of(const Call& call, const long (&a)[6], char (&room)[kPath]) {
  if (call.path < 0) {
    const auto descriptor = static_cast<int>(a[call.descriptor]);
    if (call.number == SYS_close) {
      const int flags = ::fcntl(descriptor, F_GETFL);
      if (flags < 0 || (flags & O_ACCMODE) == O_RDONLY) return {};
    }
    const std::string_view path = path_of(descriptor, room);
    return is_below(path) && !path.ends_with(" (deleted)") ? path : std::string_view();
  }
  for (const int argument : {call.path, call.other}) {
    if (argument < 0) continue;
    // A second path's directory is the argument before it, as the first one's is.
    const int directory = call.descriptor < 0 ? AT_FDCWD : static_cast<int>(a[argument - 1]);
    const auto* name = reinterpret_cast<const char*>(a[argument]);
    const std::string_view path = absolute(directory, name, room);
    if (is_below(path)) return path;
  }
  return {};
}

bool is_write(int number) {
  return number == SYS_write || number == SYS_pwrite64 || number == SYS_writev ||
         number == SYS_pwritev;
}

/// A call that a full disk doesn't hinder.
bool needs_no_room(const Call& call, const long (&a)[6]) {
  const bool opens_existing = (call.number == SYS_open && (a[1] & O_CREAT) == 0) ||
                              (call.number == SYS_openat && (a[2] & O_CREAT) == 0);
  return opens_existing || call.number == SYS_unlink || call.number == SYS_unlinkat ||
         call.number == SYS_rmdir;
}

void log_call(int64_t number, const Call& call, std::string_view path) {
  char line[kPath + 64];
  const int count =
      std::snprintf(line, sizeof line, "%lld %d %s %.*s\n", static_cast<long long>(number),
                    ::getpid(), call.name, static_cast<int>(path.size()), path.data());
  const long a[6] = {settings.log, reinterpret_cast<long>(line), count, 0, 0, 0};
  pass(SYS_write, a);
}

/// Whether call `number` is one that fails.
bool fails(int64_t number) {
  State& state = *settings.state;
  if (number == state.fail_at) {
    state.failed_at = nanoseconds();
    return true;
  }
  const int64_t since = state.failed_at;
  if (since == 0 || settings.seconds == 0) return false;
  return settings.seconds < 0 ||
         static_cast<double>(nanoseconds() - since) < settings.seconds * 1e9;
}

long cut_short(const Call& call, long (&a)[6]) {
  if (call.number == SYS_write || call.number == SYS_pwrite64) {
    if (a[2] > 1) a[2] /= 2;
  } else if (is_write(call.number)) {
    a[2] = a[2] > 1 ? a[2] - 1 : a[2];
  }
  return pass(call.number, a);
}

long answer(const Call& call, long (&a)[6]) {
  char room[kPath];
  const std::string_view path = target_of(call, a, room);
  if (path.empty()) return pass(call.number, a);
  const int64_t number = ++settings.state->calls;
  if (settings.log >= 0) log_call(number, call, path);
  if (!fails(number)) return pass(call.number, a);
  if (settings.error == ENOSPC && needs_no_room(call, a)) return pass(call.number, a);
  ++settings.state->failures;
  if (settings.error == 0) return cut_short(call, a);
  if (settings.error < 0) {
    timespec pause{-settings.error, 0};
    while (::nanosleep(&pause, &pause) != 0) {
    }
    return pass(call.number, a);
  }
  if (call.number == SYS_close) pass(call.number, a);  // closed, whatever it says
  return -settings.error;
}

void on_call(int, siginfo_t* info, void* context) {
  const int saved = errno;
  auto& registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
  long a[6] = {registers[REG_RDI], registers[REG_RSI], registers[REG_RDX],
               registers[REG_R10], registers[REG_R8],  registers[REG_R9]};
  for (const Call& call : kCalls) {
    if (call.number == info->si_syscall) registers[REG_RAX] = answer(call, a);
  }
  errno = saved;
}

/// Which process of a run this is; null for other programs.
const char* role() {
  char text[kPath] = {};
  const int file = ::open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
  const ssize_t count = file < 0 ? 0 : ::read(file, text, sizeof text - 1);
  ::close(file);
  const std::string_view program(text);
  if (count > 0 && std::string_view(program).find("python") != std::string_view::npos) {
    const std::string_view script(text + program.size() + 1);
    return script.ends_with("report.py") ? "script" : nullptr;
  }
  if (count <= 0 ||
      !std::string_view(program).substr(program.rfind('/') + 1).starts_with("ropesweep"))
    return nullptr;
  const std::string_view command(text + program.size() + 1);
  if (command == "runner") return "runner";
  if (command != "run") return "single";
  const char* rank = std::getenv("OMPI_COMM_WORLD_RANK");
  return rank == nullptr ? "launcher" : std::string_view(rank) == "0" ? "coordinator" : "shepherd";
}

/// Traps the calls of kCalls without our mark; opens only where they may change something.
void install_filter(bool with_close) {
  constexpr auto kNumber = offsetof(seccomp_data, nr);
  const auto argument = [](size_t i) {
    return static_cast<uint32_t>(offsetof(seccomp_data, args) + 8 * i);
  };
  std::array<sock_filter, 16 + 2 * kCalls.size()> program{};
  size_t size = 0;
  const auto add = [&](uint16_t code, uint32_t k, uint8_t yes, uint8_t no) {
    program[size++] = {code, yes, no, k};
  };
  constexpr uint16_t load = BPF_LD | BPF_W | BPF_ABS, equal = BPF_JMP | BPF_JEQ | BPF_K;
  constexpr uint16_t any = BPF_JMP | BPF_JSET | BPF_K, end = BPF_RET | BPF_K;
  // Not what only writes what is there: posix_spawn's child opens /dev/null so, and has no handler.
  constexpr uint32_t changing = O_CREAT | O_RDWR;
  add(load, argument(5), 0, 0);
  add(equal, kMark, 0, 1);
  add(end, SECCOMP_RET_ALLOW, 0, 0);
  for (const auto& [number, flags] : {std::pair{SYS_open, 1}, std::pair{SYS_openat, 2}}) {
    add(load, kNumber, 0, 0);
    add(equal, static_cast<uint32_t>(number), 0, 4);
    add(load, argument(static_cast<size_t>(flags)), 0, 0);
    add(any, changing, 1, 0);
    add(end, SECCOMP_RET_ALLOW, 0, 0);
    add(end, SECCOMP_RET_TRAP, 0, 0);
  }
  add(load, kNumber, 0, 0);
  for (const Call& call : kCalls) {
    if (call.number == SYS_close && !with_close) continue;
    if (call.number == SYS_open || call.number == SYS_openat) continue;
    add(equal, static_cast<uint32_t>(call.number), 0, 1);
    add(end, SECCOMP_RET_TRAP, 0, 0);
  }
  add(end, SECCOMP_RET_ALLOW, 0, 0);
  const sock_fprog filter{static_cast<uint16_t>(size), program.data()};
  ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  if (::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0) {
    std::perror("fail_writes: no seccomp filter here");
    std::_Exit(77);
  }
}

const char* text_of(const char* name) {
  const char* text = std::getenv(name);
  return text == nullptr ? "" : text;
}

__attribute__((constructor)) void begin() {
  const char* state = std::getenv("FAIL_WRITES_STATE");
  if (state == nullptr) return;
  settings.below = text_of("FAIL_WRITES_BELOW");
  settings.error = std::atol(text_of("FAIL_WRITES_ERROR"));
  settings.seconds = std::atof(text_of("FAIL_WRITES_SECONDS"));
  const long shared = raw_open(state, O_RDWR | O_CLOEXEC);
  void* memory = shared < 0 ? MAP_FAILED
                            : ::mmap(nullptr, sizeof(State), PROT_READ | PROT_WRITE, MAP_SHARED,
                                     static_cast<int>(shared), 0);
  if (memory == MAP_FAILED) return;
  settings.state = static_cast<State*>(memory);
  if (const char* log = std::getenv("FAIL_WRITES_LOG")) {
    settings.log = static_cast<int>(raw_open(log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC));
  }
  // Before the filter is there: what a filtered process starts has it from its first call on.
  struct sigaction action {};
  action.sa_sigaction = on_call;
  action.sa_flags = SA_SIGINFO | SA_NODEFER | SA_RESTART;
  ::sigaction(SIGSYS, &action, nullptr);
  const char* here = role();
  if (here != nullptr && std::strcmp(here, text_of("FAIL_WRITES_ROLE")) == 0) {
    install_filter(std::strcmp(text_of("FAIL_WRITES_CLOSE"), "1") == 0);
  }
}

}  // namespace
