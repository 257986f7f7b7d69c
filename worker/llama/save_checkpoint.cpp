// Weights out: a Hugging Face directory that transformers and its kin load.
//
// Everything is staged in a folder within the directory and moved into place, config.json last: a
// directory without config.json is no checkpoint, so a crash leaves either none or the whole. Other
// files of the directory (losses, saved states) stay.
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <set>
#include <system_error>

#include "experiments/error.h"
#include "worker/llama/checkpoint.h"
#include "worker/llama/durable_file.h"
#include "worker/llama/fused_heads.h"
#include "worker/llama/lora_files.h"
#include "worker/llama/rope_settings.h"
#include "worker/llama/safetensors.h"
#include "worker/llama/weight_parts.h"

namespace ropesweep::llama {
namespace {

namespace fs = std::filesystem;
using backend::Backend;
using backend::Dtype;
using backend::Tensor;
using nlohmann::json;

constexpr uint64_t largest_shard = 5'000'000'000;

const char* const tokenizer_files[] = {
    "tokenizer.json",    "tokenizer_config.json", "special_tokens_map.json", "tokenizer.model",
    "added_tokens.json", "chat_template.jinja",   "generation_config.json"};

/// A tensor to be written: one of the model's, or several that are stored as one.
struct Saved {
  std::string name;
  std::vector<Tensor> kept;  ///< whole, or this rank's parts
  backend::Shape shape;      ///< of the whole of each
  const WeightParts* parts = nullptr;

  Tensor whole(size_t i) const {
    return parts == nullptr ? kept[i] : parts->whole_of(kept[i], shape);
  }
  backend::Shape stored_shape() const { return kept.size() == 1 ? shape : fused_shape(shape); }
  uint64_t bytes(Dtype type) const {
    uint64_t bytes = backend::size_of(type);
    for (const int64_t extent : stored_shape()) bytes *= static_cast<uint64_t>(extent);
    return bytes;
  }
};

/// Tensors of one file, in order.
using Shard = std::vector<Saved>;

std::vector<Saved> saved_tensors(const Weights& weights, const WeightParts* parts) {
  const bool sharded = parts != nullptr && parts->sharded();
  const std::vector<backend::Shape> shapes =
      sharded ? parts->shapes() : std::vector<backend::Shape>();
  std::vector<Saved> tensors;
  const std::vector<NamedTensor> all = named_tensors(weights);
  for (size_t i = 0; i < all.size(); ++i) {
    const std::string fused = fused_name(all[i].name);
    const auto begun = std::find_if(tensors.begin(), tensors.end(),
                                    [&](const Saved& saved) { return saved.name == fused; });
    if (begun != tensors.end()) {
      begun->kept.push_back(all[i].tensor);
      continue;
    }
    tensors.push_back({fused.empty() ? all[i].name : fused,
                       {all[i].tensor},
                       sharded ? shapes.at(i) : all[i].tensor.shape(),
                       parts});
  }
  return tensors;
}

std::vector<Shard> split_into_shards(const std::vector<Saved>& tensors, Dtype type) {
  std::vector<Shard> shards(1);
  uint64_t filled = 0;
  for (const Saved& saved : tensors) {
    const uint64_t bytes = saved.bytes(type);
    if (filled > 0 && filled + bytes > largest_shard) {
      shards.emplace_back();
      filled = 0;
    }
    shards.back().push_back(saved);
    filled += bytes;
  }
  return shards;
}

/// The whole of one of a Saved's tensors, on the host.
std::vector<uint8_t> host_bytes(Backend& backend, const Tensor& whole, Dtype type) {
  Tensor source = whole;
  if (source.dtype() != type) {
    source = backend.allocate(type, whole.shape());
    backend.copy(source, whole);
  }
  std::vector<uint8_t> bytes(source.bytes());
  backend.download(bytes.data(), source);
  return bytes;
}

void write_shard(Backend& backend, const fs::path& file, const Shard& shard, Dtype type,
                 const Config& config) {
  const FileType file_type = type == Dtype::bf16 ? FileType::bf16 : FileType::f32;
  std::vector<SafetensorsWriter::Entry> entries;
  for (const Saved& saved : shard) entries.push_back({saved.name, file_type, saved.stored_shape()});
  SafetensorsWriter writer(file, entries, {{"format", "pt"}});
  for (const Saved& saved : shard) {
    std::vector<std::vector<uint8_t>> of_each;
    for (size_t i = 0; i < saved.kept.size(); ++i) {
      of_each.push_back(host_bytes(backend, saved.whole(i), type));
    }
    writer.write(of_each.size() == 1 ? of_each.front() : join_heads(of_each, config.heads));
  }
  writer.finish();
}

/// Writes the weights into `folder`; returns the names of the files.
std::vector<std::string> write_weights(Backend& backend, const fs::path& folder,
                                       const std::vector<Saved>& tensors, Dtype type,
                                       const Config& config) {
  const std::vector<Shard> shards = split_into_shards(tensors, type);
  if (shards.size() == 1) {
    write_shard(backend, folder / "model.safetensors", shards.front(), type, config);
    return {"model.safetensors"};
  }
  std::vector<std::string> names;
  json index = {{"metadata", {{"total_size", uint64_t{0}}}}, {"weight_map", json::object()}};
  uint64_t total = 0;
  for (size_t i = 0; i < shards.size(); ++i) {
    names.push_back(fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size()));
    write_shard(backend, folder / names.back(), shards[i], type, config);
    for (const Saved& saved : shards[i]) {
      index["weight_map"][saved.name] = names.back();
      total += saved.bytes(type);
    }
  }
  index["metadata"]["total_size"] = total;
  names.emplace_back("model.safetensors.index.json");
  write_synced(folder / names.back(), index.dump(2) + "\n");
  return names;
}

std::vector<std::string> copy_tokenizer(const fs::path& source, const fs::path& folder) {
  std::vector<std::string> names;
  for (const char* name : tokenizer_files) {
    if (source.empty() || !fs::exists(source / name)) continue;
    std::ifstream stream(source / name, std::ios::binary);
    if (!stream) throw_user_error("{}: cannot be read", (source / name).string());
    const std::string content{std::istreambuf_iterator<char>(stream), {}};
    write_synced(folder / name, content);
    names.emplace_back(name);
  }
  return names;
}

/// The source config with what may have changed put in.
json make_config(const Config& config, Dtype type, const std::string& scheme, double scale) {
  json written = config.source.is_object() ? config.source : json::object();
  written["num_hidden_layers"] = config.layers;
  written["hidden_size"] = config.width;
  written["intermediate_size"] = config.hidden;
  written["num_attention_heads"] = config.heads;
  written["num_key_value_heads"] = config.kv_heads;
  written["head_dim"] = config.head_dim;
  written["vocab_size"] = config.vocabulary;
  written["tie_word_embeddings"] = config.tied;
  const char* type_name = type == Dtype::bf16 ? "bfloat16" : "float32";
  written["torch_dtype"] = type_name;
  if (written.contains("dtype")) written["dtype"] = type_name;
  write_rope_settings(written, scheme, scale, config.rotary);
  write_family_keys(written, config);
  return written;
}

/// Weight files of an earlier checkpoint in `directory` that the new one does not replace.
void remove_stale_weights(const fs::path& directory, const std::set<std::string>& fresh) {
  for (const fs::directory_entry& entry : fs::directory_iterator(directory)) {
    const std::string name = entry.path().filename().string();
    const bool weights = name == "model.safetensors" || name == "model.safetensors.index.json" ||
                         (name.starts_with("model-") && name.ends_with(".safetensors")) ||
                         name.starts_with("adapter_");
    if (weights && !fresh.contains(name)) fs::remove(entry.path());
  }
}

/// Where a checkpoint is made before it takes its place. Goes with whatever it holds, and so do
/// those of processes that died: on a full disk they would be in the way of the next one.
class Stage {
 public:
  explicit Stage(const fs::path& directory)
      : path_(directory / fmt::format("{}{}", kPrefix, ::getpid())) {
    std::vector<fs::path> left;
    for (const auto& entry : fs::directory_iterator(directory)) {
      if (entry.path().filename().string().starts_with(kPrefix)) left.push_back(entry.path());
    }
    for (const fs::path& each : left) fs::remove_all(each);
    fs::create_directory(path_);
  }
  ~Stage() {
    std::error_code ignored;  // what stays is only space
    fs::remove_all(path_, ignored);
  }
  Stage(const Stage&) = delete;
  Stage& operator=(const Stage&) = delete;

  fs::path operator/(const std::string& name) const { return path_ / name; }
  const fs::path& path() const { return path_; }

 private:
  static constexpr std::string_view kPrefix = ".saving-";
  fs::path path_;
};

/// Puts what `write` writes into a folder, and returns the names of, into `directory`, with the
/// tokenizer's files and at last the config.
template <typename Write>
void publish(const fs::path& directory, const json& config, const fs::path& tokenizer_source,
             Write&& write) {
  fs::create_directories(directory);
  const Stage stage(directory);
  std::vector<std::string> names = write(stage.path());
  for (const std::string& name : copy_tokenizer(tokenizer_source, stage.path())) {
    names.push_back(name);
  }
  write_synced(stage / "config.json", config.dump(2) + "\n");

  // From here until the last rename there is no checkpoint.
  fs::remove(directory / "config.json");
  sync_path(directory);
  remove_stale_weights(directory, {names.begin(), names.end()});
  for (const std::string& name : names) rename_durably(stage / name, directory / name);
  rename_durably(stage / "config.json", directory / "config.json");
  fs::remove_all(stage.path());
}

}  // namespace

void save_checkpoint(Backend& backend, const fs::path& directory, const Weights& weights,
                     const Config& config, Dtype type, const std::string& scheme, double scale,
                     const fs::path& tokenizer_source, const WeightParts* parts) try {
  // First what may be refused: nothing is changed then.
  const json written = make_config(config, type, scheme, scale);
  const std::vector<Saved> tensors = saved_tensors(weights, parts);
  backend::Collective* const group = parts == nullptr ? nullptr : parts->group();
  if (group != nullptr && group->rank() != 0) {  // gives its parts, in the order of the files
    for (const Saved& saved : tensors) {
      for (size_t i = 0; i < saved.kept.size(); ++i) saved.whole(i);
    }
    return group->barrier();
  }
  publish(directory, written, tokenizer_source, [&](const fs::path& stage) {
    return write_weights(backend, stage, tensors, type, config);
  });
  if (group != nullptr) group->barrier();
} catch (const fs::filesystem_error& failure) {
  throw_file_error(failure);
}

void save_adapter_checkpoint(Backend& backend, const fs::path& directory, const LoraWeights& lora,
                             const LoraSettings& settings, const std::string& base,
                             const Config& config, Dtype type, const std::string& scheme,
                             double scale, const fs::path& tokenizer_source,
                             backend::Collective* group) try {
  const json written = make_config(config, type, scheme, scale);
  if (group == nullptr || group->rank() == 0) {
    publish(directory, written, tokenizer_source, [&](const fs::path& stage) {
      return write_adapter(backend, stage, lora, settings, base, config);
    });
  }
  if (group != nullptr) group->barrier();
} catch (const fs::filesystem_error& failure) {
  throw_file_error(failure);
}

}  // namespace ropesweep::llama
