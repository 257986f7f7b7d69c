// Saving and finding the state of a fine-tune.
#include "worker/tasks/training_state.h"

#include <spdlog/spdlog.h>

#include <chrono>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

#include "experiments/error.h"
#include "worker/llama/durable_file.h"
#include "worker/tasks/memory.h"

namespace ropesweep::tasks {

namespace fs = std::filesystem;

namespace {

using Clock = std::chrono::steady_clock;

constexpr const char *kPrefix = "step-", *kOptimizerFile = "optimizer.safetensors";

std::string read_text(const fs::path& file) {
  std::ifstream stream(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

std::string lines_of(const std::vector<StepRecord>& records) {
  std::string lines;
  for (const StepRecord& record : records) lines += to_json_line(record) + "\n";
  return lines;
}

/// The step of a complete state directory's name, or 0 (a partial one has a suffix).
int64_t step_of(const std::string& name) {
  if (!name.starts_with(kPrefix)) return 0;
  int64_t step = 0;
  for (const char c : name.substr(std::string(kPrefix).size())) {
    if (c < '0' || c > '9') return 0;
    step = step * 10 + (c - '0');
  }
  return step;
}

fs::path state_directory(const fs::path& states, int64_t step) {
  return states / (kPrefix + std::to_string(step));
}

fs::path partial_directory(const fs::path& states, int64_t step) {
  fs::path partial = state_directory(states, step);
  partial += ".partial";
  return partial;
}

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace

TrainingState::TrainingState(fs::path output, const std::string& identity, const SampleShare& share)
    : output_(std::move(output)), share_(share) {
  if (!writes()) {
    share_.barrier();
    return;
  }
  llama::make_directories(output_);
  const fs::path file = output_ / "identity.txt";
  if (!fs::exists(file)) {
    write_whole(file, identity, true);
  } else if (read_text(file) != identity) {
    throw_user_error(
        "{}: holds a fine-tune with other settings (compare {}); name another directory, or delete "
        "it",
        output_.string(), file.string());
  }
  share_.barrier();
}

int64_t TrainingState::agreed(int64_t step) const {
  return static_cast<int64_t>(share_.of_first({static_cast<double>(step)})[0]);
}

int64_t TrainingState::finished_step() const { return agreed(writes() ? finished_step_here() : 0); }

int64_t TrainingState::saved_step() const { return agreed(writes() ? saved_step_here() : 0); }

int64_t TrainingState::finished_step_here() const {
  const fs::path file = output_ / "finished.json";
  if (!fs::exists(file)) return 0;
  try {
    return nlohmann::json::parse(read_text(file)).at("step").get<int64_t>();
  } catch (const nlohmann::json::exception& error) {
    throw_user_error("{}: malformed ({}); delete the directory to train anew", file.string(),
                     error.what());
  }
}

int64_t TrainingState::saved_step_here() const {
  int64_t newest = 0;
  if (!fs::is_directory(states())) return newest;
  for (const auto& entry : fs::directory_iterator(states())) {
    newest = std::max(newest, step_of(entry.path().filename().string()));
  }
  return newest;
}

std::vector<StepRecord> TrainingState::resume(llama::Optimizer& optimizer) {
  std::vector<StepRecord> records;
  const int64_t step = saved_step();
  if (step > 0) {
    const fs::path directory = state_directory(states(), step);
    records = read_loss_records(directory / "losses.jsonl");
    optimizer.load(directory / kOptimizerFile);
    if (optimizer.steps_done() != step || static_cast<int64_t>(records.size()) != step) {
      throw_user_error("{}: its optimizer is at step {} and its losses end at {}; delete it",
                       directory.string(), optimizer.steps_done(), records.size());
    }
  }
  saved_ = step;
  share_.barrier();  // the others have read it
  if (writes()) {
    remove_states_but(step);
    rewrite_losses(records);
  }
  return records;
}

void TrainingState::rewrite_losses(const std::vector<StepRecord>& records) {
  write_whole(losses_file(), lines_of(records), true);
  losses_ = OutputFile(losses_file(), OutputFile::Mode::append);
}

void TrainingState::append(const StepRecord& record) {
  if (!writes()) return;
  losses_.write(to_json_line(record) + "\n");
  losses_.flush();
}

void TrainingState::save(const llama::Optimizer& optimizer,
                         const std::vector<StepRecord>& records) {
  const int64_t step = optimizer.steps_done();
  if (step == 0 || saved_ == step) return;
  const auto start = Clock::now();
  settle_or_warn();
  const bool has_room = 2 * optimizer.state_bytes() < available_memory();
  if (share_.of_first({has_room ? 1.0 : 0.0})[0] > 0) {
    llama::OptimizerState copied = optimizer.copy();
    if (writes()) write_beside(std::move(copied), lines_of(records));
  } else if (!writes()) {
    optimizer.save({});
  } else {
    optimizer.save(begin_partial(step) / kOptimizerFile);
    seal(step, lines_of(records));
    writing_seconds_ = seconds_since(start);
  }
  saved_ = step;
  pause_ = seconds_since(start);
}

void TrainingState::write_beside(llama::OptimizerState state, std::string losses) {
  writing_ =
      std::async(std::launch::async, [this, state = std::move(state), losses = std::move(losses)] {
        const auto start = Clock::now();
        state.save(begin_partial(state.steps_done) / kOptimizerFile);
        seal(state.steps_done, losses);
        writing_seconds_ = seconds_since(start);
      });
}

void TrainingState::settle() {
  if (writing_.valid()) writing_.get();
}

/// Of a state that a newer one, or the finished checkpoint, is to follow.
void TrainingState::settle_or_warn() {
  try {
    settle();
  } catch (const Error& error) {
    spdlog::warn("{}; training goes on, and what was saved before stands", error.what());
  }
}

/// An empty directory for the state of a step.
fs::path TrainingState::begin_partial(int64_t step) const {
  const fs::path partial = partial_directory(states(), step);
  std::error_code ignored;
  fs::remove_all(partial, ignored);
  llama::make_directories(partial);
  return partial;
}

/// Makes a written state the newest.
void TrainingState::seal(int64_t step, const std::string& losses) const {
  const fs::path partial = partial_directory(states(), step);
  llama::write_synced(partial / "losses.jsonl", losses);
  llama::sync_path(partial);
  llama::rename_durably(partial, state_directory(states(), step));
  remove_states_but(step);
}

void TrainingState::remove_states_but(int64_t step) const {
  if (!fs::is_directory(states())) return;
  std::vector<fs::path> stale;
  for (const auto& entry : fs::directory_iterator(states())) {
    const int64_t found = step_of(entry.path().filename().string());
    if (found == 0 || found != step) stale.push_back(entry.path());
  }
  std::error_code ignored;  // what stays is only space
  for (const fs::path& path : stale) fs::remove_all(path, ignored);
}

void TrainingState::finish(int64_t step, bool keep_state,
                           const std::function<void(const fs::path& directory)>& write) {
  if (!writes()) {
    write(output_);
    return share_.barrier();
  }
  keep_state ? settle() : settle_or_warn();
  if (losses_.is_open()) losses_.close();
  llama::sync_path(losses_file());
  std::error_code ignored;
  fs::remove(output_ / "finished.json", ignored);  // of fewer steps
  write(output_);
  write_whole(output_ / "finished.json", nlohmann::json{{"step", step}}.dump() + "\n", true);
  if (!keep_state) fs::remove_all(states(), ignored);
  share_.barrier();
}

}  // namespace ropesweep::tasks
