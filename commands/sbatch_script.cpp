// Filling in: every @NAME@ of the template has its value, or it is a defect.
#include "commands/sbatch_script.h"

#include <cmath>
#include <map>
#include <regex>
#include <stdexcept>

#include "commands/sweep_sbatch.h"
#include "experiments/error.h"

namespace ropesweep::commands {
namespace {

/// The coordinator ends its work so many seconds before the allocation does.
constexpr double kSpareSeconds = 60;

/// Letters, digits and a few signs: what may stand bare in a #SBATCH line.
std::string plain_name(const std::string& text) {
  std::string result;
  for (char c : text) {
    const bool plain =
        std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_' || c == '.';
    result += plain ? c : '_';
  }
  return result;
}

/// A path in a #SBATCH line: quoted, with Slurm's % doubled.
std::string directive_path(const std::string& text) {
  if (text.find_first_of("\n\r\"\\") != std::string::npos) {
    throw_user_error(
        "{}: a path with a quote, backslash or line break can't stand in an sbatch "
        "script; choose another --store",
        text);
  }
  return "\"" + std::regex_replace(text, std::regex("%"), "%%") + "\"";
}

}  // namespace

std::string shell_quoted(const std::string& text) {
  std::string result = "'";
  for (char c : text) {
    if (c == '\'') {
      result += R"('\'')";
    } else {
      result += c;
    }
  }
  return result + "'";
}

std::string slurm_time(double seconds) {
  const auto whole = static_cast<int64_t>(std::ceil(seconds));
  return fmt::format("{}-{:02}:{:02}:{:02}", whole / 86400, whole / 3600 % 24, whole / 60 % 60,
                     whole % 60);
}

std::string sbatch_script(const BatchJob& job) {
  if (plain_name(job.partition) != job.partition) {
    throw_user_error("--partition {}: no name of a partition", job.partition);
  }
  const int workers_per_node = std::max(1, job.gpus_per_node);
  // The coordinator is one task more on the first node; --oversubscribe gives it its place.
  const int ranks = job.nodes * workers_per_node + 1;
  const int tasks_per_node = workers_per_node + 1;
  const double run_seconds = std::max(job.seconds / 2, job.seconds - kSpareSeconds);
  const std::filesystem::path log =
      std::filesystem::path(job.store).replace_extension(".slurm.log");
  const std::map<std::string, std::string> values = {
      {"JOB_NAME", plain_name(job.name)},
      {"NODES", std::to_string(job.nodes)},
      {"TASKS_PER_NODE", std::to_string(tasks_per_node)},
      {"GPUS_LINE", job.gpus_per_node > 0
                        ? fmt::format("#SBATCH --gpus-per-node={}", job.gpus_per_node)
                        : "# no GPUs: one worker a node"},
      {"TIME", slurm_time(job.seconds)},
      {"PARTITION_LINE", job.partition.empty() ? "# the cluster's own partition"
                                               : "#SBATCH --partition=" + job.partition},
      {"LOG", directive_path(log.string())},
      {"WARNING_SECONDS", std::to_string(job.warning_seconds)},
      {"PROGRAM", shell_quoted(job.program.string())},
      {"SWEEP", shell_quoted(job.sweep.string())},
      {"STORE", shell_quoted(job.store.string())},
      {"RANKS", std::to_string(ranks)},
      {"TIME_SECONDS", fmt::format("{:.0f}", run_seconds)},
      {"DEVICE_OPTION", job.device.empty() ? "" : " --device " + shell_quoted(job.device)},
  };
  static const std::regex place("@([A-Z_]+)@");
  const std::string text = kSweepSbatch;
  std::string script;
  auto copied = text.begin();
  for (std::sregex_iterator match(text.begin(), text.end(), place), end; match != end; ++match) {
    const auto value = values.find((*match)[1].str());
    if (value == values.end()) {
      throw std::logic_error("slurm/sweep.sbatch has an unknown place " + match->str());
    }
    script.append(copied, text.begin() + match->position());
    script += value->second;
    copied = text.begin() + match->position() + match->length();
  }
  return script.append(copied, text.end());
}

}  // namespace ropesweep::commands
