// Two threads: this one speaks with the shepherd, the other computes. They meet at one mutex.
#include "worker/runner.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <csignal>
#include <mutex>
#include <new>
#include <optional>
#include <thread>
#include <utility>

#include "worker/backend/collective.h"
#include "worker/disk_patience.h"
#include "worker/progress_watch.h"
#include "worker/tasks/thrift.h"

namespace ropesweep {
namespace {

using Clock = std::chrono::steady_clock;

/// Set by SIGTERM (a host that shuts down, a cluster's time limit) and by the shepherd's Stop.
std::atomic<bool> stop_requested{false};

void request_stop(int) { stop_requested = true; }

Done failed(const AttemptId& attempt, FailureKind kind, const std::string& what) {
  Done done{attempt, {}};
  done.outcome.failure_kind = kind;
  done.outcome.failure = what;
  // What a process has had lies about in pieces: the next attempt begins with all there is.
  done.runner_ends = kind == FailureKind::memory;
  return done;
}

/// Runs the task; what it throws becomes a failure with its kind.
Done run_guarded(const AttemptId& attempt, const std::function<Outcome()>& run,
                 const DiskPatience& patience) {
  try {
    return {attempt, run_patiently(run, patience)};
  } catch (const BrokenDevice& broken) {
    Done done = failed(attempt, FailureKind::transient, broken.what());
    done.device_broken = done.runner_ends = true;
    return done;
  } catch (const Error& error) {
    return failed(attempt, error.kind(), error.what());
  } catch (const backend::LostMember& lost) {
    Done done = failed(attempt, FailureKind::transient, lost.what());
    done.lost_member = true;
    return done;
  } catch (const std::bad_alloc&) {
    return failed(attempt, FailureKind::memory, "out of memory");
  } catch (const std::exception& error) {
    // An error of a CUDA device stays: whatever its context is asked next fails too.
    Done done = failed(attempt, FailureKind::transient, error.what());
    done.runner_ends = true;
    return done;
  }
}

/// The thread that computes, and what it says meanwhile.
class TaskThread {
 public:
  explicit TaskThread(const RunTask& run_task)
      : run_task_(run_task), wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

  void start(Assign assignment, double now) {
    busy_ = true;
    watch_.begin(assignment.patience, now);
    attempt_ = assignment.attempt;
    {
      const std::lock_guard lock(mutex_);
      fraction_ = 0;
      what_ = "starts";
      reports_ = reports_seen_ = 0;
    }
    thread_ = std::jthread([this, assigned = std::move(assignment)] { compute(assigned); });
  }

  bool busy() const { return busy_; }
  /// The process is not to run another task.
  bool spent() const { return spent_; }
  int wake_fd() const { return wake_.get(); }

  Heartbeat heartbeat() {
    const std::lock_guard lock(mutex_);
    return busy_ ? Heartbeat{attempt_, fraction_, what_} : Heartbeat{};
  }

  /// The answer in place of a task that hangs; its thread is beyond help.
  std::optional<Done> take_hanging(double now) {
    const std::lock_guard lock(mutex_);
    if (!busy_ || answer_) {
      return std::nullopt;
    }
    if (reports_ != reports_seen_) {
      reports_seen_ = reports_;
      watch_.progressed(now);
    }
    if (!watch_.hangs(now)) {
      return std::nullopt;
    }
    Done done = failed(attempt_, FailureKind::transient,
                       fmt::format("the task hangs: no progress for {:.0f} s at \"{}\"",
                                   watch_.silence(now), what_));
    done.runner_ends = true;
    return done;
  }

  /// What a fine-tune has reached since the last call, if anything.
  std::optional<Losses> take_losses() {
    const std::lock_guard lock(mutex_);
    if (so_far_.curve.step.empty()) {
      return std::nullopt;
    }
    Losses losses{attempt_, so_far_};
    so_far_.curve = {};
    return losses;
  }

  /// The answer, once; the thread is idle then.
  std::optional<Done> take_answer() {
    {
      const std::lock_guard lock(mutex_);
      if (!answer_) {
        return std::nullopt;
      }
    }
    thread_.join();
    uint64_t count = 0;
    static_cast<void>(::read(wake_.get(), &count, sizeof count));
    busy_ = false;
    spent_ = answer_->runner_ends;
    return std::exchange(answer_, std::nullopt);
  }

 private:
  void begin_losses(const std::string& fine_tune) {
    const std::lock_guard lock(mutex_);
    so_far_ = {};
    so_far_.fine_tune = fine_tune;
    so_far_.validation_loss = std::nan("");
  }

  void compute(const Assign& assignment) {
    tasks::TaskContext context;
    context.stop = &stop_requested;
    tasks::set_thrift(static_cast<tasks::Thrift>(assignment.thrift));
    context.progress = [this](double fraction, const std::string& what) {
      const std::lock_guard lock(mutex_);
      ++reports_;
      fraction_ = fraction;
      what_ = what;
    };
    context.losses = [this](std::span<const tasks::StepRecord> steps) {
      const std::lock_guard lock(mutex_);
      tasks::add_steps(so_far_, steps);
    };
    DiskPatience patience;
    // The others of a group have left when one of them failed.
    patience.seconds = assignment.place.size == 1 ? assignment.disk_patience : 0;
    patience.stop = &stop_requested;
    patience.report = [this](const std::string& what) {
      const std::lock_guard lock(mutex_);
      ++reports_;
      what_ = what;
    };
    const auto start = Clock::now();
    const auto run = [&] {
      begin_losses(assignment.task.id);  // a task that is run again tells its steps again
      return run_task_(assignment.task, assignment.place, context);
    };
    Done answer = run_guarded(assignment.attempt, run, patience);
    if (answer.outcome.seconds <= 0) {
      answer.outcome.seconds = std::chrono::duration<double>(Clock::now() - start).count();
    }
    {
      const std::lock_guard lock(mutex_);
      so_far_.curve = {};  // the answer has all of it
      answer_ = std::move(answer);
    }
    const uint64_t one = 1;
    static_cast<void>(!::write(wake_.get(), &one, sizeof one));
  }

  const RunTask& run_task_;
  OwnedDescriptor wake_;
  bool busy_ = false;
  AttemptId attempt_;
  std::mutex mutex_;
  double fraction_ = 0;
  std::string what_;
  int64_t reports_ = 0, reports_seen_ = 0;  ///< of progress
  ProgressWatch watch_;
  bool spent_ = false;
  FineTuneOutcome so_far_;
  std::optional<Done> answer_;
  std::jthread thread_;
};

/// One runner's conversation.
class Service {
 public:
  Service(OwnedDescriptor socket, const RunTask& run_task, const RunnerOptions& options)
      : channel_(std::move(socket), 1), task_(run_task), options_(options) {}

  int serve() {
    last_heard_ = next_beat_ = Clock::now();
    while (true) {
      while (const auto received = channel_.poll()) {
        last_heard_ = Clock::now();
        on_message(received->second);
      }
      if (auto done = task_.take_answer()) {
        channel_.send(0, *done);
      }
      const auto now = Clock::now();
      if (channel_.closed() || seconds(now - last_heard_) > options_.shepherd_silence_seconds) {
        // Nobody wants the answer, and another may be given the task: no last words, no saving.
        _exit(1);
      }
      if (auto hanging = task_.take_hanging(seconds(now.time_since_epoch()))) {
        say_last(*hanging);
      }
      if (stop_requested && !task_.busy() && !channel_.wants_write()) {
        return 0;
      }
      if (task_.spent() && !channel_.wants_write()) {
        return 1;
      }
      if (now >= next_beat_) {
        next_beat_ = now + duration(options_.heartbeat_seconds);
        channel_.send(0, task_.heartbeat());
      }
      if (now >= next_losses_) {
        if (auto losses = task_.take_losses()) {
          channel_.send(0, *losses);
          next_losses_ = now + duration(options_.losses_seconds);
        }
      }
      wait(seconds(next_beat_ - now));
    }
  }

 private:
  static double seconds(Clock::duration duration) {
    return std::chrono::duration<double>(duration).count();
  }

  static Clock::duration duration(double of_seconds) {
    return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(of_seconds));
  }

  void on_message(const Message& message) {
    if (const auto* assign = std::get_if<Assign>(&message)) {
      if (!task_.busy() && !task_.spent() && !stop_requested) {
        task_.start(*assign, seconds(Clock::now().time_since_epoch()));
      }
    } else if (const auto* stop = std::get_if<Stop>(&message)) {
      stop_requested = true;
      if (!stop->save) {
        _exit(0);
      }
    }
  }

  /// Ends the process, whatever its other thread is stuck in.
  [[noreturn]] void say_last(const Message& message) {
    channel_.send(0, message);
    const auto limit = Clock::now() + duration(options_.shepherd_silence_seconds);
    while (channel_.wants_write() && Clock::now() < limit) {
      channel_.wait(options_.heartbeat_seconds);
      channel_.flush();
    }
    _exit(1);
  }

  void wait(double limit) {
    std::array<pollfd, 2> entries{
        {{channel_.fd(), static_cast<short>(POLLIN | (channel_.wants_write() ? POLLOUT : 0)), 0},
         {task_.wake_fd(), POLLIN, 0}}};
    ::poll(entries.data(), entries.size(), 1 + static_cast<int>(std::max(0.0, limit) * 1000));
  }

  SocketChannel channel_;
  TaskThread task_;
  RunnerOptions options_;
  Clock::time_point last_heard_, next_beat_, next_losses_;
};

}  // namespace

void die_with_parent(int parent_pid) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent_pid) {
    _exit(1);
  }
}

int serve_tasks(OwnedDescriptor socket, const RunTask& run_task, const RunnerOptions& options) {
  std::signal(SIGTERM, request_stop);
  std::signal(SIGPIPE, SIG_IGN);
  return Service(std::move(socket), run_task, options).serve();
}

}  // namespace ropesweep
