// ropesweep runner: the child process of a shepherd that owns the device. Not for people.
#include <fcntl.h>

#include <memory>

#include "commands/options.h"
#include "experiments/error.h"
#include "worker/runner.h"
#include "worker/tasks/device.h"

namespace ropesweep::commands {

namespace po = boost::program_options;

namespace {

/// Of "cuda" and "auto" the GPU of this worker, one worker a GPU; more workers share them in turn.
std::string own_device(const std::string& device, int index) {
  const int count = device == "cuda" || device == "auto" ? tasks::cuda_devices() : 0;
  return count > 0 ? fmt::format("cuda:{}", index % count) : device;
}

}  // namespace

int runner_command(const Arguments& arguments) {
  int socket = -1, parent = -1, threads = 1, device_index = 0;
  double shepherd_silence = RunnerOptions{}.shepherd_silence_seconds;
  std::string device;
  po::options_description options("Options");
  auto add = options.add_options();
  add("socket", po::value(&socket)->required(), "the inherited socket of the shepherd");
  add("parent", po::value(&parent)->required(), "the shepherd's process");
  add("device", po::value(&device)->default_value("auto"), "cpu | cuda | cuda:N | auto");
  add("device-index", po::value(&device_index)->default_value(0),
      "the worker's number on its host: with cuda it takes that GPU");
  add("threads", po::value(&threads)->default_value(1), "threads to compute with");
  add("shepherd-silence", po::value(&shepherd_silence)->default_value(shepherd_silence),
      "seconds after which a silent shepherd is taken for stopped");
  po::variables_map values;
  if (!parse_options(arguments, "ropesweep runner (started by a shepherd)", options, {}, values)) {
    return 0;
  }
  die_with_parent(parent);
  if (::fcntl(socket, F_SETFD, FD_CLOEXEC) != 0) {
    throw_user_error("--socket {}: no such descriptor; shepherds start runners, people don't",
                     socket);
  }
  // Made with the first task, so that a device that isn't there is told as the answer to it.
  std::unique_ptr<tasks::TaskRunner> runner;
  const RunTask run_task = [&](const Task& task, const GroupPlace& place,
                               const tasks::TaskContext& context) {
    if (!runner) {
      try {
        runner = std::make_unique<tasks::TaskRunner>(own_device(device, device_index), threads);
      } catch (const std::exception& error) {
        throw BrokenDevice(error.what());
      }
    }
    return runner->run(task, context, place);
  };
  RunnerOptions runner_options;
  runner_options.shepherd_silence_seconds = shepherd_silence;
  return serve_tasks(OwnedDescriptor(socket), run_task, runner_options);
}

}  // namespace ropesweep::commands
