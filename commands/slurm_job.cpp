// scontrol is asked, since no variable of Slurm's names the GPUs of other nodes, and those for the
// end of a job are not set before Slurm 23.02.
#include "commands/slurm_job.h"

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <regex>
#include <sstream>

#include "commands/child_output.h"
#include "experiments/error.h"

namespace ropesweep::commands {
namespace {

std::string variable(const char* name) {
  const char* text = std::getenv(name);
  return text == nullptr ? "" : text;
}

/// The value of a field NAME=VALUE, or "".
std::string field(const std::string& text, const std::string& name) {
  const std::string mark = " " + name + "=";
  const size_t found = (" " + text).find(mark);
  if (found == std::string::npos) {
    return "";
  }
  const size_t start = found + mark.size() - 1;
  return text.substr(start, text.find_first_of(" \n", start) - start);
}

/// YYYY-MM-DDTHH:MM:SS of the cluster's clock here.
std::optional<double> seconds_of(const std::string& text) {
  std::tm time{};
  const char* end = ::strptime(text.c_str(), "%Y-%m-%dT%H:%M:%S", &time);
  if (end == nullptr || *end != '\0') {
    return std::nullopt;
  }
  time.tm_isdst = -1;
  return static_cast<double>(std::mktime(&time));
}

/// GPUs in gpu:a100:2(IDX:0-1),shard:0 or gpu:4(IDX:0,2-4).
int count_gpus(const std::string& resources) {
  static const std::regex gpu(R"((?:^|,)gpu(?::[^:(),]+)?:(\d{1,4})(?=[(,]|$))");
  int sum = 0;
  for (std::sregex_iterator match(resources.begin(), resources.end(), gpu), end; match != end;
       ++match) {
    sum += std::stoi((*match)[1].str());
  }
  return sum;
}

std::vector<std::string> expand_by_scontrol(const std::string& expression) {
  const auto output = output_of({"scontrol", "show", "hostnames", expression});
  if (!output || output->exit_code != 0) {
    throw_transient_error("scontrol show hostnames {}: {}", expression,
                          output ? output->text : "scontrol isn't found");
  }
  std::istringstream lines(output->text);
  std::vector<std::string> names;
  for (std::string name; lines >> name;) {
    names.push_back(name);
  }
  return names;
}

}  // namespace

SlurmJob parse_slurm_job(const std::string& text, const ExpandNodes& expand) {
  SlurmJob job;
  job.id = field(text, "JobId");
  job.state = field(text, "JobState");
  job.restarts = std::atoi(field(text, "Restarts").c_str());
  job.end_time = seconds_of(field(text, "EndTime"));
  if (const std::string list = field(text, "NodeList"); !list.empty() && list != "(null)") {
    job.nodes = expand(list);
  }
  const auto batch_host = std::find(job.nodes.begin(), job.nodes.end(), field(text, "BatchHost"));
  if (batch_host != job.nodes.end()) {
    std::rotate(job.nodes.begin(), batch_host, std::next(batch_host));
  }
  static const std::regex share(R"(Nodes=(\S+) CPU_IDs=\S* Mem=\S* GRES=(\S*))");
  for (std::sregex_iterator match(text.begin(), text.end(), share), end; match != end; ++match) {
    if (const int count = count_gpus((*match)[2].str()); count > 0) {
      for (const std::string& node : expand((*match)[1].str())) {
        job.gpus[node] += count;
      }
    }
  }
  return job;
}

SlurmJob current_slurm_job() {
  const std::string id = variable("SLURM_JOB_ID");
  if (id.empty() || id.find_first_not_of("0123456789") != std::string::npos) {
    throw_user_error(
        "run --slurm: this is no job of Slurm's (SLURM_JOB_ID is not set): ropesweep submit makes "
        "one, and without Slurm there is run --workers or run --hostfile");
  }
  const auto output = output_of({"scontrol", "--oneliner", "--details", "show", "job", id});
  if (!output || output->exit_code != 0) {
    throw_transient_error("scontrol show job {}: {}", id,
                          output ? output->text : "scontrol isn't found on this node");
  }
  SlurmJob job = parse_slurm_job(output->text, expand_by_scontrol);
  job.id = id;
  if (job.nodes.empty()) {
    throw_transient_error("scontrol show job {} names no nodes: {}", id, output->text);
  }
  return job;
}

std::vector<HostWorkers> workers_of(const SlurmJob& job, const std::string& device,
                                    int workers_per_node) {
  const bool by_gpu = workers_per_node == 0 && device != "cpu" && !job.gpus.empty();
  std::vector<HostWorkers> hosts;
  for (const std::string& node : job.nodes) {
    const auto gpus = job.gpus.find(node);
    const int count = !by_gpu                  ? std::max(1, workers_per_node)
                      : gpus == job.gpus.end() ? 0
                                               : gpus->second;
    if (count > 0 || hosts.empty()) {  // The coordinator is on the first, with or without workers.
      hosts.push_back({node, count});
    }
  }
  return hosts;
}

std::string requeue(const SlurmJob& job) {
  const auto output = output_of({"scontrol", "requeue", job.id});
  if (!output) {
    return "scontrol isn't found";
  }
  return output->exit_code == 0 ? "" : "scontrol requeue: " + output->text;
}

}  // namespace ropesweep::commands
