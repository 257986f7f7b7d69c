// One turn: the coordinator's words, the runner's, the runner's fate, signs of life.
#include "worker/shepherd.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "experiments/host_name.h"

namespace ropesweep {
namespace {

/// After a runner that couldn't start, or died at once, the next one waits.
constexpr double kRestartPause = 1;

}  // namespace

Shepherd::Shepherd(ShepherdOptions options, Channel& coordinator, double now)
    : options_(std::move(options)),
      coordinator_(coordinator),
      host_(host_name()),
      last_turn_(now),
      last_heard_(now) {
  coordinator_.send(0, Hello{host_, options_.device, ::getpid(), options_.local_rank});
}

void Shepherd::turn(double now) {
  const bool slept = now - last_turn_ > options_.coordinator_silence_seconds;
  last_turn_ = now;
  if (slept) {
    // This process was stopped for so long that its task has been given to another.
    give_up_attempt("this worker was suspended", now);
    last_heard_ = now;
  }
  while (!over_) {
    const auto received = coordinator_.poll();
    if (!received) {
      break;
    }
    last_heard_ = now;
    if (alone_) {
      spdlog::info("worker {}: the coordinator speaks again", coordinator_.rank());
      alone_ = false;
      ask_at_ = now;
    }
    hear_coordinator(received->second, now);
  }
  if (over_) {
    return;
  }
  // Before its first word it may be busy for long, with digests of large models.
  const double silence = now - last_heard_;
  if (!coordinator_host_.empty() && silence > options_.coordinator_silence_seconds) {
    if (stopping_ || silence > options_.coordinator_silence_seconds + options_.orphan_seconds) {
      spdlog::warn("worker {}: the coordinator has been silent for {:.0f} s; leaving",
                   coordinator_.rank(), silence);
      end_runner();
      over_ = true;
      return;
    }
    if (!alone_) {
      alone_ = true;
      give_up_attempt(fmt::format("the coordinator has been silent for {:.0f} s", silence), now);
    }
  }
  hear_runner(now);
  watch_runner(now);
  // Without a runner too: what it says to a task then tells the coordinator.
  if (!attempt_ && !stopping_ && !alone_ && (runner_ || runner_failed_) && now >= ask_at_) {
    ask_for_work(now);
  }
  if (now >= next_beat_) {
    next_beat_ = now + options_.heartbeat_seconds;
    coordinator_.send(0, attempt_ ? Heartbeat{*attempt_, fraction_, what_} : Heartbeat{});
    if (runner_) {
      runner_->channel().send(1, CoordinatorAlive{});
    }
  }
  if (stopping_ && !attempt_ && unacknowledged_.empty()) {
    leave(stop_reason_);
  }
}

void Shepherd::hear_coordinator(const Message& message, double now) {
  if (const auto* alive = std::get_if<CoordinatorAlive>(&message)) {
    if (coordinator_host_.empty()) {
      coordinator_host_ = alive->host;
      coordinator_pid_ = alive->host == host_ ? alive->pid : -1;
    }
  } else if (const auto* assign = std::get_if<Assign>(&message)) {
    on_assign(*assign, now);
  } else if (const auto* wait_order = std::get_if<Wait>(&message)) {
    ask_at_ = now + std::max(0.01, wait_order->seconds);
  } else if (const auto* acknowledged = std::get_if<Acknowledge>(&message)) {
    std::erase(unacknowledged_, acknowledged->attempt);
  } else if (const auto* abandon = std::get_if<Abandon>(&message)) {
    if (attempt_ == abandon->attempt) {
      end_runner();
      attempt_.reset();
      ask_at_ = now;
    }
  } else if (const auto* stop = std::get_if<Stop>(&message)) {
    on_stop(*stop);
  }
}

void Shepherd::on_assign(const Assign& assign, double now) {
  ++assigned_;
  if (attempt_) {
    end_runner();  // What it is at has been given up by who gave it.
  }
  attempt_ = assign.attempt;
  weights_ = assign.task.weights_key;
  fraction_ = 0;
  what_ = "starts";
  if (stopping_) {
    fail_attempt(FailureKind::time, "told to stop before it began");
    return;
  }
  if (!runner_) {
    start_runner(now);
  }
  if (runner_) {
    runner_->channel().send(1, assign);
  }
}

void Shepherd::on_stop(const Stop& stop) {
  in_order_ = true;
  if (!stop.save && attempt_) {
    end_runner();
    attempt_.reset();
  }
  if (!stop.save) {
    unacknowledged_.clear();
  }
  request_stop("told to stop");
}

void Shepherd::request_stop(const std::string& reason) {
  if (!stopping_) {
    stopping_ = true;
    stop_reason_ = reason;
    if (attempt_ && runner_) {
      runner_->channel().send(1, Stop{true});
    }
  }
}

void Shepherd::hear_runner(double now) {
  while (runner_) {
    std::optional<std::pair<int, Message>> received;
    try {
      received = runner_->channel().poll();
    } catch (const Error& error) {
      spdlog::error("worker {}: runner: {}", coordinator_.rank(), error.what());
      runner_->kill();
    }
    if (!received) {
      if (runner_->channel().closed()) {
        runner_->kill();  // It may still run, but nobody can speak with it.
      }
      return;
    }
    last_beat_of_runner_ = now;
    runner_spoke_ = true;
    runner_failed_ = false;
    if (const auto* heartbeat = std::get_if<Heartbeat>(&received->second)) {
      if (attempt_ && heartbeat->attempt == *attempt_) {
        fraction_ = heartbeat->fraction;
        what_ = heartbeat->what;
      }
    } else if (const auto* losses = std::get_if<Losses>(&received->second)) {
      if (attempt_ && losses->attempt == *attempt_) {
        coordinator_.send(0, *losses);
      }
    } else if (auto* done = std::get_if<Done>(&received->second)) {
      if (attempt_ && done->attempt == *attempt_) {
        loaded_ = weights_;
        unacknowledged_.push_back(*attempt_);
        attempt_.reset();
        coordinator_.send(0, *done);
        ask_at_ = now;
        if (done->runner_ends) {
          // Before another task is given to it.
          end_runner();
          start_runner_at_ = now + (done->device_broken ? kRestartPause : 0);
          runner_failed_ = done->device_broken;
        }
      }
    }
  }
}

void Shepherd::watch_runner(double now) {
  if (runner_) {
    const double silence = now - last_beat_of_runner_;
    const bool hangs = silence > options_.runner_silence_seconds;
    if (hangs) {
      runner_->kill();
    }
    const auto how = runner_->ended();
    if (!how) {
      return;
    }
    const bool memory = !hangs && runner_->out_of_memory();
    const bool came_up = runner_spoke_;
    const std::string what =
        hangs ? fmt::format("the runner hung: no sign of life for {:.0f} s", silence)
              : "the runner died: " + *how;
    end_runner();
    start_runner_at_ = now + (attempt_ ? 0 : kRestartPause);
    if (attempt_) {
      fail_attempt(memory ? FailureKind::memory : FailureKind::transient, what, !came_up);
      ask_at_ = now;
    } else if (!stopping_) {
      runner_failed_ = runner_failed_ || !came_up;
      spdlog::warn("worker {}: {}", coordinator_.rank(), what);
    }
  }
  if (!runner_ && !stopping_ && !coordinator_host_.empty() && now >= start_runner_at_) {
    start_runner(now);
  }
}

void Shepherd::start_runner(double now) {
  try {
    const RunnerShare share = options_.share ? options_.share(coordinator_host_) : RunnerShare{};
    std::vector<std::string> command = options_.runner_command;
    command.insert(command.end(), {"--threads", std::to_string(share.threads), "--device-index",
                                   std::to_string(share.device_index)});
    runner_ = std::make_unique<RunnerProcess>(std::move(command), share.threads);
    last_beat_of_runner_ = now;
    runner_spoke_ = false;
  } catch (const Error& error) {
    start_runner_at_ = now + kRestartPause;
    runner_failed_ = true;
    if (attempt_) {
      fail_attempt(FailureKind::transient, error.what(), true);
      ask_at_ = now + kRestartPause;
    } else {
      spdlog::error("worker {}: {}", coordinator_.rank(), error.what());
    }
  }
}

void Shepherd::end_runner() {
  runner_.reset();
  loaded_.clear();
}

void Shepherd::give_up_attempt(const std::string& why, double now) {
  if (attempt_) {
    spdlog::warn("worker {}: {}; its attempt is given up", coordinator_.rank(), why);
    end_runner();
    // As if told to stop: what was saved stays, and no one is to blame.
    fail_attempt(FailureKind::time, why);
  }
  ask_at_ = now;
}

void Shepherd::fail_attempt(FailureKind kind, const std::string& what, bool device_broken) {
  Done done{*attempt_, {}};
  done.device_broken = device_broken;
  done.outcome.failure_kind = kind;
  done.outcome.failure = what;
  done.outcome.device = options_.device;
  unacknowledged_.push_back(*attempt_);
  attempt_.reset();
  coordinator_.send(0, done);
}

void Shepherd::ask_for_work(double now) {
  coordinator_.send(0, RequestWork{loaded_, assigned_});
  ask_at_ = now + 5;  // Until a Wait says otherwise.
}

void Shepherd::leave(const std::string& reason) {
  end_runner();
  coordinator_.send(0, Goodbye{reason});
  over_ = true;
}

void Shepherd::wait(double seconds) {
  if (runner_) {
    runner_->channel().wait(seconds);
  } else {
    std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
  }
}

}  // namespace ropesweep
