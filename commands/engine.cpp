// Shared manners of the engine commands.
#include "commands/engine.h"

#include <spdlog/sinks/sink.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <iostream>

#include "experiments/error.h"
#include "experiments/position_encoding.h"
#include "worker/backend/profile.h"
#include "worker/llama/config.h"

namespace ropesweep::commands {

namespace po = boost::program_options;
namespace fs = std::filesystem;

namespace {

using Clock = std::chrono::steady_clock;

std::atomic<bool> stop_flag = false;
static_assert(std::atomic<bool>::is_always_lock_free, "set in a signal handler");

extern "C" void on_stop_signal(int) { stop_flag.store(true, std::memory_order_relaxed); }

void install_stop_signals() {
  struct sigaction action = {};
  action.sa_handler = on_stop_signal;
  action.sa_flags = static_cast<int>(SA_RESETHAND);  // a second one ends the program at once
  for (const int signal : {SIGINT, SIGTERM, SIGUSR1}) sigaction(signal, &action, nullptr);
}

/// One line of progress with the time that is left.
class ProgressLine {
 public:
  void show(double fraction, const std::string& what) {
    const auto now = Clock::now();
    const bool terminal =
        isatty(STDERR_FILENO) != 0 &&
        spdlog::default_logger()->sinks().front()->should_log(spdlog::level::info);
    const auto period =
        terminal ? std::chrono::milliseconds(200) : std::chrono::milliseconds(60000);
    if (now - shown_ < period) return;
    shown_ = now;
    const std::chrono::duration<double> elapsed = now - start_;
    std::string line = fmt::format("{:5.1f} %  {}", 100 * fraction, what);
    if (fraction > 0.001) {
      line += fmt::format(", {:.0f} s left", elapsed.count() * (1 - fraction) / fraction);
    }
    if (terminal) {
      std::fprintf(stderr, "\r%s\x1b[K", line.c_str());
      std::fflush(stderr);
      drawn_ = true;
    } else {
      spdlog::info("{}", line);
    }
  }

  void end() {
    if (drawn_) std::fputs("\r\x1b[K", stderr);
    drawn_ = false;
  }

 private:
  Clock::time_point start_ = Clock::now(), shown_ = Clock::now();
  bool drawn_ = false;
};

ProgressLine& progress_line() {
  static ProgressLine line;
  return line;
}

}  // namespace

void add_position_options(po::options_description& options, PositionOptions& positions) {
  auto add = options.add_options();
  add("scheme", po::value(&positions.scheme)->value_name("S"),
      "position encoding, as a call: yarn, power(0.5), … (the checkpoint's own)");
  add("scale", po::value(&positions.scale)->value_name("s"), "the scheme's scale, at least 1 (1)");
}

ResolvedPositions resolve_positions(const PositionOptions& positions, const std::string& config) {
  if (positions.scheme.empty()) {
    if (positions.scale != 0) throw_user_error("--scale needs --scheme");
    const llama::Config own = llama::read_config(config);
    return {own.own_scheme, own.own_scale};
  }
  const double scale = positions.scale == 0 ? 1 : positions.scale;
  if (!(scale >= 1)) throw_user_error("--scale {}: must be at least 1", positions.scale);
  return {canonical_scheme(positions.scheme), scale};
}

void require_option(const std::string& value, const std::string& name, const std::string& usage) {
  if (value.empty()) throw_user_error("{} is missing; usage: {}", name, usage);
}

std::string existing_path(const std::string& path, const std::string& option) {
  std::error_code failure;
  const fs::path absolute = fs::absolute(path, failure);
  if (failure || !fs::exists(absolute, failure)) {
    throw_user_error("{} {}: no such file or directory", option, path);
  }
  return absolute.lexically_normal().string();
}

void add_base_option(po::options_description& options, std::string& base) {
  options.add_options()("base", po::value(&base)->value_name("DIR"),
                        "model that an adapter belongs over, where its own is not here");
}

std::string shape_of(const std::string& model, const std::string& base) {
  if (base.empty()) return model;
  const std::string given = existing_path(base, "--base");
  return fs::exists(fs::path(model) / "config.json") ? model : given;
}

int checked_threads(const EngineOptions& engine) {
  if (engine.threads < 0 || engine.threads > 4096) {
    throw_user_error("--threads {}: must be 0 (all cores) to 4096", engine.threads);
  }
  return static_cast<int>(engine.threads);
}

TableArithmetic arithmetic_of(const EngineOptions& engine) {
  return engine.hf_bits ? TableArithmetic::hugging_face : TableArithmetic::exact;
}

std::unique_ptr<tasks::TaskRunner> make_runner(const EngineOptions& engine) {
  auto runner = std::make_unique<tasks::TaskRunner>(engine.device, checked_threads(engine));
  runner->use_arithmetic(arithmetic_of(engine));
  return runner;
}

tasks::TaskContext make_context(const EngineOptions& engine) {
  backend::Profile::instance().enable(engine.profile);
  install_stop_signals();
  progress_line() = ProgressLine();
  tasks::TaskContext context;
  context.stop = &stop_flag;
  context.progress = [](double fraction, const std::string& what) {
    progress_line().show(fraction, what);
  };
  return context;
}

void finish_engine(const EngineOptions& engine) {
  progress_line().end();
  if (engine.profile) std::cerr << backend::Profile::instance().table();
}

nlohmann::ordered_json to_figure(const Measure& measure) {
  nlohmann::ordered_json figure;
  figure["value"] = metric_value(measure);
  figure["standard_error"] = metric_standard_error(measure);
  return figure;
}

}  // namespace ropesweep::commands
