// `ropesweep export`: a fine-tune's weights out of a store, as a Hugging Face checkpoint.
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <system_error>

#include "commands/engine.h"
#include "experiments/error.h"
#include "experiments/nearest_name.h"
#include "storage/store.h"
#include "worker/llama/checkpoint.h"
#include "worker/llama/config.h"
#include "worker/llama/durable_file.h"
#include "worker/llama/lora_files.h"
#include "worker/llama/rope_settings.h"

namespace ropesweep::commands {

namespace {

namespace po = boost::program_options;
namespace fs = std::filesystem;

const std::string usage =
    "ropesweep export STORE FINE_TUNE DIR [--adapter] [--plain] [--type f32|bf16]";

struct ExportOptions {
  std::string store, fine_tune, directory, type;
  bool plain = false, adapter = false;
};

po::options_description describe(ExportOptions& o) {
  po::options_description options("Options");
  auto add = options.add_options();
  add("store", po::value(&o.store)->value_name("STORE"), "NAME.h5");
  add("fine-tune", po::value(&o.fine_tune)->value_name("ID"),
      "its id, or a beginning that only one has (query STORE --table fine_tunes)");
  add("directory", po::value(&o.directory)->value_name("DIR"), "where the checkpoint goes");
  add("adapter", po::bool_switch(&o.adapter),
      "of a fine-tune with LoRA the adapter alone, for PEFT; without it merged into its base");
  add("plain", po::bool_switch(&o.plain),
      "the base model's own positions in config.json, with a note about the scheme");
  add("type", po::value(&o.type)->value_name("f32|bf16"),
      "round the weights to this type; without it they stay as they were trained");
  return options;
}

const FineTuneRecord& find_fine_tune(const StoreContents& contents, const std::string& id) {
  std::vector<const FineTuneRecord*> matching;
  std::vector<std::string> known;
  for (const FineTuneRecord& record : contents.fine_tunes) {
    if (record.fine_tune.id == id) return record;
    if (record.fine_tune.id.starts_with(id)) matching.push_back(&record);
    known.push_back(record.fine_tune.id);
  }
  if (matching.size() == 1) return *matching.front();
  if (matching.size() > 1) {
    throw_user_error("fine-tune '{}': {} ids begin so; give more of it", id, matching.size());
  }
  const std::string nearest = nearest_name(id, known);
  throw_user_error("fine-tune '{}': the store has none of that id; {}", id,
                   nearest.empty() ? "ropesweep query STORE --table fine_tunes lists them"
                                   : "did you mean " + nearest + "?");
}

/// Files of a checkpoint; what training keeps beside it stays.
bool belongs_to_checkpoint(const std::string& name) {
  static const std::vector<std::string> others = {"identity.txt", "finished.json", "losses.jsonl"};
  return std::find(others.begin(), others.end(), name) == others.end() && !name.starts_with(".");
}

/// Refuses what other programs would read as other positions than it was trained with.
void check_expressible(const fs::path& directory) {
  const llama::Config config = llama::read_config(directory);
  if (llama::expressed_rope_keys(config.own_scheme, config.own_scale, config.rotary)) return;
  throw_user_error(
      "{}: no rope type of config.json expresses the scheme {}, so other programs could not "
      "compute it; --plain exports the weights with the base model's own positions and a note",
      directory.string(), config.own_scheme);
}

/// The config with the base positions, and a note of what the weights were trained with.
void make_plain(const fs::path& directory, const FineTune& fine_tune) {
  const llama::Config config = llama::read_config(directory);
  nlohmann::json written = config.source;
  llama::write_rope_settings(written, "none", 1, config.rotary);
  llama::write_family_keys(written, config);
  llama::write_synced(directory / "config.json", written.dump(2) + "\n");
  llama::write_synced(
      directory / "POSITIONS.txt",
      fmt::format("These weights were trained with the position encoding {} at scale {}.\n"
                  "config.json holds the base model's own positions instead.\n",
                  fine_tune.scheme, fine_tune.train_scale));
}

void copy_files(const fs::path& from, const fs::path& to) {
  for (const auto& entry : fs::directory_iterator(from)) {
    const std::string name = entry.path().filename().string();
    if (!entry.is_regular_file() || !belongs_to_checkpoint(name)) continue;
    fs::copy_file(entry.path(), to / name);
    llama::sync_path(to / name);
  }
}

/// The checkpoint `from` in another type, and merged if it is an adapter.
void convert_files(const fs::path& from, const fs::path& to, const std::string& type) {
  const auto backend = backend::make_cpu_backend(1);
  const llama::Config config = llama::read_config(from);
  const auto dtype = type == "bf16" ? backend::Dtype::bf16 : backend::Dtype::f32;
  // Adapters are merged in the type that they were trained in, as evaluations have them.
  const auto loaded =
      llama::is_adapter(from) && config.type == "bf16" ? backend::Dtype::bf16 : backend::Dtype::f32;
  const llama::Weights weights = llama::load_merged_weights(*backend, from, {}, config, loaded);
  llama::save_checkpoint(*backend, to, weights, config, dtype, config.own_scheme, config.own_scale,
                         from);
}

/// An adapter's base as a path of its own: it may have been a way from the store's directory.
void make_base_absolute(const fs::path& from, const fs::path& to) {
  std::ifstream stream(from / "adapter_config.json");
  auto config = nlohmann::ordered_json::parse(stream);
  config["base_model_name_or_path"] = llama::base_of_adapter(from).string();
  llama::write_synced(to / "adapter_config.json", config.dump(2) + "\n");
}

/// Copies beside `to`, then renames: DIR is whole or not there.
void copy_checkpoint(const fs::path& from, const fs::path& to, const FineTuneRecord& record,
                     const ExportOptions& o) try {
  fs::path beside = to;
  beside += fmt::format(".partial-{}", getpid());
  fs::remove_all(beside);
  fs::create_directories(beside);
  const bool merges = llama::is_adapter(from) && !o.adapter;
  if (merges || !o.type.empty()) {
    convert_files(from, beside, o.type.empty() ? llama::read_config(from).type : o.type);
  } else {
    copy_files(from, beside);
    if (o.adapter) make_base_absolute(from, beside);
  }
  if (o.plain) make_plain(beside, record.fine_tune);
  llama::sync_path(beside);
  llama::rename_durably(beside, to);
} catch (const fs::filesystem_error& error) {
  throw_file_error(error);
}

}  // namespace

int export_command(const Arguments& arguments) {
  ExportOptions o;
  po::variables_map values;
  po::positional_options_description positional;
  positional.add("store", 1).add("fine-tune", 1).add("directory", 1);
  if (!parse_options(arguments, usage, describe(o), positional, values)) return 0;
  require_option(o.store, "STORE", usage);
  require_option(o.fine_tune, "FINE_TUNE", usage);
  require_option(o.directory, "DIR", usage);
  if (!o.type.empty() && o.type != "f32" && o.type != "bf16") {
    throw_user_error("--type {}: f32 or bf16", o.type);
  }

  if (o.adapter && !o.type.empty()) {
    throw_user_error("--adapter and --type exclude each other: adapters are f32");
  }

  const fs::path store = existing_path(o.store, "STORE");
  const StoreContents contents = read_store(store);
  const FineTuneRecord& record = find_fine_tune(contents, o.fine_tune);
  const std::string& id = record.fine_tune.id;
  if (record.status != "finished") {
    throw_user_error("fine-tune {} is {}, not finished: it has no weights", id, record.status);
  }
  const fs::path checkpoint =
      fs::path(store).replace_extension(".d") /
      (record.outcome.checkpoint.empty() ? "checkpoints/" + id : record.outcome.checkpoint);
  if (!fs::exists(checkpoint / "config.json")) {
    throw_user_error("{}: no checkpoint; was it deleted? ropesweep rerun makes it again",
                     checkpoint.string());
  }
  if (o.adapter && !llama::is_adapter(checkpoint)) {
    throw_user_error("--adapter: fine-tune {} trained all weights; it has no adapter", id);
  }
  const fs::path to = fs::absolute(fs::path(o.directory) / "").parent_path();
  if (fs::exists(to) && !fs::is_empty(to)) {
    throw_user_error("{}: exists and is not empty; name another directory", o.directory);
  }
  if (!o.plain) check_expressible(checkpoint);
  copy_checkpoint(checkpoint, to, record, o);
  return 0;
}

}  // namespace ropesweep::commands
