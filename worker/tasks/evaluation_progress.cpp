// Reading what was kept, and appending to it.
#include "worker/tasks/evaluation_progress.h"

#include <spdlog/spdlog.h>

#include <optional>
#include <system_error>

namespace ropesweep::tasks {

namespace {

/// The records of a file of this identity; nothing when there is none.
std::optional<std::map<std::string, nlohmann::json>> read_records(const std::filesystem::path& file,
                                                                  const std::string& identity) {
  std::ifstream in(file);
  std::string line;
  const auto parsed = [&] { return nlohmann::json::parse(line, nullptr, false); };
  if (!std::getline(in, line)) return std::nullopt;
  if (parsed() != nlohmann::json{{"identity", identity}}) return std::nullopt;
  std::map<std::string, nlohmann::json> records;
  while (std::getline(in, line)) {
    nlohmann::json entry = parsed();
    if (entry.is_object() && entry.contains("record") && entry.contains("key") &&
        entry["key"].is_string()) {
      records[entry["key"].get<std::string>()] = std::move(entry["record"]);
    }
  }
  return records;
}

}  // namespace

EvaluationProgress::EvaluationProgress(const std::filesystem::path& file,
                                       const std::string& identity)
    : file_(file) {
  if (file_.empty()) return;
  auto records = read_records(file_, identity);
  std::error_code error;
  std::filesystem::create_directories(file_.parent_path(), error);  // the opening tells
  out_.open(file_, records ? std::ios::app : std::ios::trunc);
  if (records) {
    records_ = std::move(*records);
    out_ << "\n";  // ends a line that was cut
  } else {
    out_ << nlohmann::json{{"identity", identity}}.dump() << "\n" << std::flush;
  }
  if (!out_) {
    spdlog::warn(
        "{}: cannot be written; the evaluation goes on, and starts afresh if it is stopped",
        file_.string());
  }
}

const nlohmann::json* EvaluationProgress::find(const std::string& key) const {
  const auto found = records_.find(key);
  return found == records_.end() ? nullptr : &found->second;
}

void EvaluationProgress::keep(const std::string& key, const nlohmann::json& record) {
  if (!out_.is_open() || !out_) return;
  out_ << nlohmann::json{{"key", key}, {"record", record}}.dump() << "\n" << std::flush;
  if (!out_) {
    spdlog::warn(
        "{}: cannot be written; is the disk full? The evaluation goes on, and what follows "
        "is computed again if it is stopped",
        file_.string());
  }
}

}  // namespace ropesweep::tasks
