// Reading: sweep → digests → geometries → grid → tasks.
#include "commands/sweep_inputs.h"

#include "commands/digest_cache.h"
#include "experiments/error.h"
#include "storage/store.h"
#include "worker/llama/config.h"

namespace ropesweep::commands {
namespace {

namespace fs = std::filesystem;

ModelGeometry geometry_at(const fs::path& model) {
  return llama::geometry_of(llama::read_config(model));
}

}  // namespace

fs::path default_store(const Sweep& sweep) {
  return fs::absolute(sweep.file.parent_path() / (sweep.name + ".h5"));
}

SweepInputs read_sweep_inputs(const std::string& sweep_file, const fs::path& store,
                              const std::string& device, std::vector<std::string>* missing_data) {
  SweepInputs inputs;
  inputs.sweep = find_sweep(sweep_file);
  if (!device.empty()) {
    inputs.sweep.workers.device = device;
  }
  inputs.store = store.empty() ? default_store(inputs.sweep) : fs::absolute(store);
  for (const auto& [name, directory] : inputs.sweep.models) {
    inputs.geometries[name] = geometry_at(directory);
  }
  DigestCache cache(store_directory(inputs.store));
  for (const std::string& path : referenced_paths(inputs.sweep)) {
    try {
      inputs.digests[path] = cache.digest(path, sweep_file);
    } catch (const Error& error) {
      if (missing_data == nullptr || error.kind() != FailureKind::user) throw;
      missing_data->emplace_back(error.what());
      inputs.digests[path] = sha256_hex(path);
    }
  }
  cache.save();
  inputs.grid = expand(inputs.sweep, inputs.digests);
  return inputs;
}

TaskPool remaining_tasks(const SweepInputs& inputs, const StoreContents& contents) {
  std::vector<std::string> settled;
  for (const CellRecord& record : contents.cells) {
    if (is_settled(record.status)) {
      settled.push_back(record.cell.id);
    }
  }
  // One that failed stays a task: the coordinator skips what needs it, with the reason.
  for (const FineTuneRecord& record : contents.fine_tunes) {
    if (record.status == "finished") {
      settled.push_back(record.fine_tune.id);
    }
  }
  TaskPool tasks;
  make_tasks(inputs.sweep, inputs.grid, inputs.digests, inputs.geometries, settled,
             store_directory(inputs.store).string(),
             [&tasks](const Task& task) { tasks.add(task); });
  return tasks;
}

}  // namespace ropesweep::commands
