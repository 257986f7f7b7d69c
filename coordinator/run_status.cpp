// run.json: {"run", "pid", "exit_code"?}.
#include "coordinator/run_status.h"

#include <fstream>
#include <nlohmann/json.hpp>

#include "experiments/output_file.h"

namespace ropesweep {
namespace {

constexpr const char* kName = "run.json";

}  // namespace

void write_run_status(const std::filesystem::path& directory, const RunStatus& status) {
  nlohmann::json json{{"run", status.run}, {"pid", status.pid}};
  if (status.exit_code) {
    json["exit_code"] = *status.exit_code;
  }
  write_whole(directory / kName, json.dump() + "\n", false);
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
