// run.json: {"run", "pid", "exit_code"?}.
#include "coordinator/run_status.h"

#include <fstream>
#include <nlohmann/json.hpp>

#include "experiments/error.h"

namespace ropesweep {
namespace {

constexpr const char* kName = "run.json";

}  // namespace

void write_run_status(const std::filesystem::path& directory, const RunStatus& status) {
  nlohmann::json json{{"run", status.run}, {"pid", status.pid}};
  if (status.exit_code) {
    json["exit_code"] = *status.exit_code;
  }
  const std::filesystem::path beside = directory / (std::string(kName) + ".new");
  std::ofstream file(beside);
  file << json.dump() << '\n';
  file.close();
  std::error_code error;
  if (file) {
    std::filesystem::rename(beside, directory / kName, error);
  }
  if (!file || error) {
    throw_transient_error("{}: can't be written{}{}: is the disk full?",
                          (directory / kName).string(), error ? ": " : "",
                          error ? error.message() : "");
  }
}

std::optional<RunStatus> read_run_status(const std::filesystem::path& directory,
                                         const std::string& run) {
  std::ifstream file(directory / kName);
  const nlohmann::json json = nlohmann::json::parse(file, nullptr, false);
  if (!json.is_object()) {
    return std::nullopt;
  }
  try {
    RunStatus status{json.at("run").get<std::string>(), json.at("pid").get<int64_t>(),
                     std::nullopt};
    if (json.contains("exit_code")) {
      status.exit_code = json.at("exit_code").get<int>();
    }
    return status.run == run ? std::optional(status) : std::nullopt;
  } catch (const nlohmann::json::exception&) {
    return std::nullopt;
  }
}

}  // namespace ropesweep
