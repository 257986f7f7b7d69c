// Reading what was kept, and appending to it.
#include "worker/tasks/evaluation_progress.h"

#include <spdlog/spdlog.h>

#include <fstream>
#include <optional>
#include <system_error>

#include "experiments/error.h"

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
  std::error_code ignored;
  std::filesystem::create_directories(file_.parent_path(), ignored);  // the opening tells
  const std::string first = records ? "\n"                            // ends a line that was cut
                                    : nlohmann::json{{"identity", identity}}.dump() + "\n";
  try {
    out_ = OutputFile(file_, records ? OutputFile::Mode::append : OutputFile::Mode::replace);
  } catch (const Error& error) {
    spdlog::warn("{} (the evaluation goes on, and starts afresh if it is stopped)", error.what());
  }
  if (records) records_ = std::move(*records);
  append(first);
}

const nlohmann::json* EvaluationProgress::find(const std::string& key) const {
  const auto found = records_.find(key);
  return found == records_.end() ? nullptr : &found->second;
}

void EvaluationProgress::keep(const std::string& key, const nlohmann::json& record) {
  append(nlohmann::json{{"key", key}, {"record", record}}.dump() + "\n");
}

void EvaluationProgress::append(const std::string& text) {
  if (!out_.is_open()) return;
  try {
    out_.write(text);
    out_.flush();
  } catch (const Error& error) {
    spdlog::warn("{} (the evaluation goes on; what follows is computed again if it is stopped)",
                 error.what());
    out_ = OutputFile();
  }
}

}  // namespace ropesweep::tasks
