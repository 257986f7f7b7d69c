// Saving and finding the state of a fine-tune.
#include "worker/tasks/training_state.h"

#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <system_error>

#include "experiments/error.h"
#include "worker/llama/durable_file.h"

namespace ropesweep::tasks {

namespace fs = std::filesystem;

namespace {

constexpr const char* kPrefix = "step-";

std::string read_text(const fs::path& file) {
  std::ifstream stream(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

void write_durably(const fs::path& file, const std::string& text) { write_whole(file, text, true); }

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
    write_durably(file, identity);
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
  if (!fs::exists(states())) return newest;
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
    optimizer.load(directory / "optimizer.safetensors");
    if (optimizer.steps_done() != step || static_cast<int64_t>(records.size()) != step) {
      throw_user_error("{}: its optimizer is at step {} and its losses end at {}; delete it",
                       directory.string(), optimizer.steps_done(), records.size());
    }
  }
  share_.barrier();  // the others have read it
  if (writes()) {
    remove_states_but(step);
    rewrite_losses(records);
  }
  return records;
}

void TrainingState::rewrite_losses(const std::vector<StepRecord>& records) {
  write_durably(losses_file(), lines_of(records));
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
  if (step == 0 || saved_step() == step) return;
  const fs::path whole = state_directory(states(), step);
  fs::path partial = whole;
  partial += ".partial";
  const fs::path file = partial / "optimizer.safetensors";
  if (!writes()) return optimizer.save(file);
  std::error_code ignored;
  fs::remove_all(partial, ignored);
  llama::make_directories(partial);
  optimizer.save(file);
  llama::write_synced(partial / "losses.jsonl", lines_of(records));
  llama::sync_path(partial);
  llama::rename_durably(partial, whole);
  remove_states_but(step);
}

void TrainingState::remove_states_but(int64_t step) const {
  if (!fs::exists(states())) return;
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
  if (losses_.is_open()) losses_.close();
  llama::sync_path(losses_file());
  std::error_code ignored;
  fs::remove(output_ / "finished.json", ignored);  // of fewer steps
  write(output_);
  write_durably(output_ / "finished.json", nlohmann::json{{"step", step}}.dump() + "\n");
  if (!keep_state) fs::remove_all(states(), ignored);
  share_.barrier();
}

}  // namespace ropesweep::tasks
