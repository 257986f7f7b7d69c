// Open MPI behind the channel: Isend with its buffer kept until it is done, Iprobe and Recv.
#define OMPI_SKIP_MPICXX 1
#include "coordinator/protocol/mpi_channel.h"

#include <fcntl.h>
#include <mpi.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <csignal>
#include <cstdlib>
#include <list>
#include <vector>

namespace ropesweep {
namespace {

constexpr int kTag = 1;
constexpr unsigned kFinalizeLimit = 5;  ///< seconds

std::atomic<int> finalize_exit_code{0};

void leave_now(int) { _exit(finalize_exit_code.load()); }

/// While one lives, MPI_Init may take so long. A rank that died before its own would otherwise keep
/// all others waiting for ever, and mpirun with them.
class StartWatch {
 public:
  explicit StartWatch(double patience_seconds) {
    const auto seconds = static_cast<unsigned>(std::ceil(std::max(1.0, patience_seconds)));
    // One of them may be the one that died.
    const bool speaks = mpi_environment().rank < 2;
    message_ = speaks ? fmt::format(
                            "ropesweep: not all ranks have come together within {} s: one "
                            "died as it started, or its host is out of reach; nothing is "
                            "lost, run it again (or wait longer: --start-patience)\n",
                            seconds)
                      : "";
    const char* mark = std::getenv(kLateStartVariable);
    mark_ = mark == nullptr ? "" : mark;
    std::signal(SIGALRM, give_up);
    alarm(seconds);
  }
  ~StartWatch() {
    alarm(0);
    std::signal(SIGALRM, SIG_DFL);
  }
  StartWatch(const StartWatch&) = delete;
  StartWatch& operator=(const StartWatch&) = delete;

 private:
  static void give_up(int) {
    if (!mark_.empty()) static_cast<void>(::open(mark_.c_str(), O_CREAT | O_WRONLY, 0666));
    [[maybe_unused]] const ssize_t said = ::write(STDERR_FILENO, message_.data(), message_.size());
    _exit(1);
  }

  static inline std::string message_, mark_;  // made before the signal can come
};

class OpenMpiChannel : public MpiChannel {
 public:
  explicit OpenMpiChannel(double patience_seconds) {
    std::signal(SIGPIPE, SIG_IGN);
    const StartWatch watch(patience_seconds);
    int provided = 0;
    if (MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided) != MPI_SUCCESS) {
      throw_transient_error("MPI_Init failed; see mpirun's own message");
    }
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
    MPI_Comm_size(MPI_COMM_WORLD, &size_);
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }

  void send(int to, const Message& message) override {
    reap();
    sends_.push_back({to, encode(message), MPI_REQUEST_NULL});
    Send& entry = sends_.back();
    if (MPI_Isend(entry.bytes.data(), static_cast<int>(entry.bytes.size()), MPI_BYTE, to, kTag,
                  MPI_COMM_WORLD, &entry.request) != MPI_SUCCESS) {
      sends_.pop_back();
    }
  }

  std::optional<std::pair<int, Message>> poll() override {
    reap();
    int arrived = 0;
    MPI_Status status;
    if (MPI_Iprobe(MPI_ANY_SOURCE, kTag, MPI_COMM_WORLD, &arrived, &status) != MPI_SUCCESS ||
        arrived == 0) {
      return std::nullopt;
    }
    int count = 0;
    MPI_Get_count(&status, MPI_BYTE, &count);
    std::vector<uint8_t> bytes(static_cast<size_t>(count));
    if (MPI_Recv(bytes.data(), count, MPI_BYTE, status.MPI_SOURCE, kTag, MPI_COMM_WORLD,
                 MPI_STATUS_IGNORE) != MPI_SUCCESS) {
      return std::nullopt;
    }
    return std::pair{status.MPI_SOURCE, decode(bytes)};
  }

  /// Its sends are never looked at again (MPI_Test on them can spin for ever), and their buffers
  /// stay.
  void abandon(int rank) override {
    for (auto entry = sends_.begin(); entry != sends_.end();) {
      const auto next = std::next(entry);
      if (entry->to == rank) {
        abandoned_.splice(abandoned_.end(), sends_, entry);
      }
      entry = next;
    }
  }

  void finish(bool orderly, int exit_code) override {
    if (!orderly || !abandoned_.empty()) {
      return;
    }
    finalize_exit_code = exit_code;
    std::signal(SIGALRM, leave_now);
    alarm(kFinalizeLimit);
    for (Send& entry : sends_) {
      MPI_Wait(&entry.request, MPI_STATUS_IGNORE);
    }
    sends_.clear();
    MPI_Finalize();
    alarm(0);
  }

 private:
  struct Send {
    int to;
    std::vector<uint8_t> bytes;
    MPI_Request request;
  };

  void reap() {
    for (auto entry = sends_.begin(); entry != sends_.end();) {
      int done = 0;
      const bool failed = MPI_Test(&entry->request, &done, MPI_STATUS_IGNORE) != MPI_SUCCESS;
      entry = done != 0 || failed ? sends_.erase(entry) : std::next(entry);
    }
  }

  int rank_ = 0, size_ = 0;
  std::list<Send> sends_, abandoned_;
};

int environment_number(const char* name, int fallback) {
  const char* text = std::getenv(name);
  return text == nullptr ? fallback : std::atoi(text);
}

}  // namespace

std::unique_ptr<MpiChannel> MpiChannel::start(double patience_seconds) {
  return std::make_unique<OpenMpiChannel>(patience_seconds);
}

MpiEnvironment mpi_environment() {
  MpiEnvironment environment;
  environment.size = environment_number("OMPI_COMM_WORLD_SIZE", 0);
  environment.rank = environment_number("OMPI_COMM_WORLD_RANK", 0);
  environment.local_rank = environment_number("OMPI_COMM_WORLD_LOCAL_RANK", 0);
  environment.local_size = environment_number("OMPI_COMM_WORLD_LOCAL_SIZE", 1);
  return environment;
}

}  // namespace ropesweep
