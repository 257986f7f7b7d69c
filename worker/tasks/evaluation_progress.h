// What an evaluation has finished so far, kept in a file as it goes, so that one that is stopped or
// killed goes on with its next sample. JSON lines, the first of which says whose they are:
//
//   {"identity": "…"}
//   {"key": "CELL/3", "record": {…}}
//
// Lines are appended whole and say all by themselves: a line that was cut or mixed with another
// worker's is left out, and its sample is computed again. The file is a help, never the result:
// what can't be written is said once and the evaluation goes on.
#pragma once

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "experiments/output_file.h"

namespace ropesweep::tasks {

class EvaluationProgress {
 public:
  /// `file` empty: nothing is kept. `identity`: text of all that the figures depend on; the lines
  /// of another identity are dropped.
  EvaluationProgress(const std::filesystem::path& file, const std::string& identity);

  /// The last record kept under `key`, null when there is none.
  const nlohmann::json* find(const std::string& key) const;
  void keep(const std::string& key, const nlohmann::json& record);

 private:
  std::filesystem::path file_;
  std::map<std::string, nlohmann::json> records_;
  /// Writes and flushes; what fails is said once, and no more is kept.
  void append(const std::string& text);
  OutputFile out_;
};

}  // namespace ropesweep::tasks
