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

std::string lines_of(const BatchJob& job) {
  std::string lines;
  for (const std::string& option : job.options) {
    lines += (lines.empty() ? "" : "\n") + sbatch_line(option);
  }
  return lines.empty() ? "# no more options" : lines;
}

std::string run_options(const BatchJob& job) {
  std::string text;
  if (job.workers_per_node > 0) {
    text += fmt::format(" --workers {}", job.workers_per_node);
  }
  if (!job.device.empty()) {
    text += " --device " + shell_quoted(job.device);
  }
  return text;
}

}  // namespace

std::string sbatch_line(const std::string& option) {
  static const std::regex form(R"((--[a-z][a-z0-9-]*)(?:=([ -~]+))?)");
  std::smatch match;
  if (!std::regex_match(option, match, form) ||
      option.find_first_of("\"'\\") != std::string::npos) {
    throw_user_error(
        "--sbatch {}: is no option of sbatch's as --NAME=VALUE or --NAME (without quotes or "
        "backslashes)",
        option);
  }
  const std::string value = match[2].str();
  const bool plain = plain_name(value) == value;
  return "#SBATCH " + match[1].str() +
         (!match[2].matched ? ""
          : plain           ? "=" + value
                            : "=\"" + value + "\"");
}

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
  // The coordinator is a task more; on which node it will be is not known here.
  const std::string tasks =
      job.gpus > 0 ? fmt::format("--ntasks={}", job.gpus + 1)
                   : fmt::format("--ntasks-per-node={}",
                                 std::max({1, job.gpus_per_node, job.workers_per_node}) + 1);
  const std::filesystem::path log =
      std::filesystem::path(job.store).replace_extension(".slurm.log");
  const std::map<std::string, std::string> values = {
      {"JOB_NAME", plain_name(job.name)},
      {"NODES", std::to_string(job.nodes)},
      {"TASKS_LINE", "#SBATCH " + tasks},
      {"GPUS_LINE", job.gpus > 0 ? fmt::format("#SBATCH --gpus={}", job.gpus)
                    : job.gpus_per_node > 0
                        ? fmt::format("#SBATCH --gpus-per-node={}", job.gpus_per_node)
                        : "# no GPUs"},
      {"TIME", slurm_time(job.seconds)},
      {"LOG", directive_path(log.string())},
      {"WARNING_SECONDS", std::to_string(job.warning_seconds)},
      {"PROGRAM", shell_quoted(job.program.string())},
      {"SWEEP", shell_quoted(job.sweep.string())},
      {"STORE", shell_quoted(job.store.string())},
      {"MORE_LINES", lines_of(job)},
      {"RUN_OPTIONS", run_options(job)},
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
