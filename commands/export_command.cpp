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
#include "worker/llama/rope_settings.h"

namespace ropesweep::commands {

namespace {

namespace po = boost::program_options;
namespace fs = std::filesystem;

const std::string usage = "ropesweep export STORE FINE_TUNE DIR [--plain] [--type f32|bf16]";

struct ExportOptions {
  std::string store, fine_tune, directory, type;
  bool plain = false;
};

po::options_description describe(ExportOptions& o) {
  po::options_description options("Options");
  auto add = options.add_options();
  add("store", po::value(&o.store)->value_name("STORE"), "NAME.h5");
  add("fine-tune", po::value(&o.fine_tune)->value_name("ID"),
      "its id, or a beginning that only one has (query STORE --table fine_tunes)");
  add("directory", po::value(&o.directory)->value_name("DIR"), "where the checkpoint goes");
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

/// The config with the base positions, and a note of what the weights were trained with.
void make_plain(const fs::path& directory, const FineTune& fine_tune) {
  const llama::Config config = llama::read_config(directory);
  nlohmann::json written = config.source;
  llama::write_rope_settings(written, "none", 1, config.rotary);
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

/// The checkpoint `from` in another type.
void convert_files(const fs::path& from, const fs::path& to, const std::string& type) {
  const auto backend = backend::make_cpu_backend(1);
  const llama::Config config = llama::read_config(from);
  const auto dtype = type == "bf16" ? backend::Dtype::bf16 : backend::Dtype::f32;
  const llama::Weights weights = llama::load_weights(*backend, from, config, backend::Dtype::f32);
  llama::save_checkpoint(*backend, to, weights, config, dtype, config.own_scheme, config.own_scale,
                         from);
}

/// Copies beside `to`, then renames: DIR is whole or not there.
void copy_checkpoint(const fs::path& from, const fs::path& to, const FineTuneRecord& record,
                     const ExportOptions& o) try {
  fs::path beside = to;
  beside += fmt::format(".partial-{}", getpid());
  fs::remove_all(beside);
  fs::create_directories(beside);
  if (o.type.empty()) {
    copy_files(from, beside);
  } else {
    convert_files(from, beside, o.type);
  }
  if (o.plain) make_plain(beside, record.fine_tune);
  llama::sync_path(beside);
  llama::rename_durably(beside, to);
} catch (const fs::filesystem_error& error) {
  throw_transient_error("{}: cannot be written: {}", to.string(), error.what());
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
  const fs::path to = fs::absolute(fs::path(o.directory) / "").parent_path();
  if (fs::exists(to) && !fs::is_empty(to)) {
    throw_user_error("{}: exists and is not empty; name another directory", o.directory);
  }
  const llama::Config config = llama::read_config(checkpoint);
  const auto positions = make_position_encoding(config.own_scheme, config.own_scale, config.rotary);
  if (!o.plain && !positions->attention_rule().is_plain()) {
    throw_user_error(
        "scheme {}: no rope type of config.json expresses it, so other programs would not compute "
        "what was trained; --plain writes the weights with the base model's positions and a note",
        positions->scheme());
  }
  copy_checkpoint(checkpoint, to, record, o);
  return 0;
}

}  // namespace ropesweep::commands
