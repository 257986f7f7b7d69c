// Weights into the model: from a checkpoint's safetensors, or fresh random numbers.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "experiments/error.h"
#include "worker/llama/checkpoint.h"
#include "worker/llama/fused_heads.h"
#include "worker/llama/safetensors.h"
#include "worker/llama/weight_parts.h"
#include "worker/llama/weight_slots.h"

namespace ropesweep::llama {
namespace {

using backend::Backend;
using backend::Dtype;
using backend::Shape;
using backend::Tensor;

std::string shape_text(const std::vector<int64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

/// Bytes that the kernel is asked for before they are needed: the disk is never idle.
constexpr size_t kReadAhead = size_t{128} << 20;

/// Where a slot's values come from.
struct Source {
  const WeightSlot* slot;
  FileTensor tensor;
};

/// The name under which a slot's values are stored. GPT-NeoX's output has had two.
std::string stored_name(const SafetensorsDirectory& files, const WeightSlot& slot) {
  const std::string fused = fused_name(slot.name);
  if (!fused.empty()) return fused;
  return slot.name == "embed_out.weight" && !files.has(slot.name) ? output_name : slot.name;
}

/// The sources of all slots in the order in which they lie on the disk.
std::vector<Source> sources_of(const SafetensorsDirectory& files,
                               const std::vector<WeightSlot>& slots) {
  std::vector<Source> sources;
  for (const WeightSlot& slot : slots) {
    const std::string name = stored_name(files, slot);
    if (slot.optional && !files.has(name)) continue;
    const auto [tensor, reader] = files.tensor(name);
    const Shape shape = fused_name(slot.name).empty() ? slot.shape : fused_shape(slot.shape);
    if (tensor.shape != shape) {
      throw_user_error("{}: tensor {} has shape {}, config.json asks for {}",
                       reader->file().string(), name, shape_text(tensor.shape), shape_text(shape));
    }
    sources.push_back({&slot, tensor});
  }
  std::sort(sources.begin(), sources.end(), [](const Source& a, const Source& b) {
    return std::less<>()(a.tensor.bytes.data(), b.tensor.bytes.data());
  });
  return sources;
}

Tensor load_tensor(Backend& backend, const FileTensor& source, const Shape& shape, Dtype type) {
  const Tensor tensor = backend.allocate(type, shape);
  const bool as_it_is = (type == Dtype::f32 && source.type == FileType::f32) ||
                        (type == Dtype::bf16 && source.type == FileType::bf16);
  if (as_it_is) {
    backend.upload(tensor, source.bytes.data());
  } else if (type == Dtype::f32) {
    backend.upload(tensor, to_f32(source).data());
  } else {
    backend.upload(tensor, to_bf16(source).data());
  }
  return tensor;
}

Tensor load_slot(Backend& backend, const FileTensor& source, const WeightSlot& slot,
                 const Config& config, Dtype type) {
  if (fused_name(slot.name).empty()) return load_tensor(backend, source, slot.shape, type);
  const std::vector<uint8_t> bytes = split_heads(source.bytes, config.heads, fused_part(slot.name));
  return load_tensor(backend, {source.type, slot.shape, bytes}, slot.shape, type);
}

/// Tensors that no model of this config has would be left out of the sums: the user should know.
void warn_of_unused(const SafetensorsDirectory& files, const std::vector<WeightSlot>& slots,
                    const std::filesystem::path& directory) {
  std::vector<std::string> unused;
  for (const std::string& name : files.names()) {
    const bool used = std::any_of(slots.begin(), slots.end(), [&](const WeightSlot& slot) {
      return stored_name(files, slot) == name;
    });
    // Old checkpoints carry their frequencies, GPT-NeoX's their masks; a tied output may be stored
    // a second time.
    const bool harmless = name.find("rotary_emb.inv_freq") != std::string::npos ||
                          name.ends_with(".attention.bias") ||
                          name.ends_with(".attention.masked_bias") || name == output_name ||
                          name == "embed_out.weight";
    if (!used && !harmless) unused.push_back(name);
  }
  if (!unused.empty()) {
    spdlog::warn("{}: {} tensors are not used, {} among them", directory.string(), unused.size(),
                 unused.front());
  }
}

/// FNV-1a, 64 bits: a stream of random numbers for each name.
uint64_t stream_of(const std::string& name) {
  uint64_t hash = 0xcbf29ce484222325ULL;
  for (const char letter : name) {
    hash = (hash ^ static_cast<uint8_t>(letter)) * 0x100000001b3ULL;
  }
  return hash;
}

}  // namespace

Weights load_weights(Backend& backend, const std::filesystem::path& directory, const Config& config,
                     Dtype type, const WeightParts* parts) {
  const SafetensorsDirectory files(directory);
  Weights weights;
  const std::vector<WeightSlot> slots = weight_slots(weights, config);
  const std::vector<Source> sources = sources_of(files, slots);
  size_t asked = 0, bytes_ahead = 0;  // the next to be asked for; bytes asked for and not loaded
  for (const auto& [slot, tensor] : sources) {
    for (; asked < sources.size() && bytes_ahead < kReadAhead; ++asked) {
      read_ahead(sources[asked].tensor);
      bytes_ahead += sources[asked].tensor.bytes.size();
    }
    const Tensor whole = load_slot(backend, tensor, *slot, config, type);
    *slot->tensor = parts == nullptr ? whole : parts->shard_of(whole);
    bytes_ahead -= tensor.bytes.size();
  }
  share_tied_output(weights, config);
  warn_of_unused(files, slots, directory);
  return weights;
}

Tensor init_position_table(Backend& backend, const Config& config, Dtype type, uint64_t seed,
                           const WeightParts* parts) {
  const double deviation = config.initializer_range > 0 ? config.initializer_range : 0.02;
  const Tensor drawn = backend.allocate(Dtype::f32, config.position_table);
  backend.random_normal(drawn, seed, stream_of(position_table_name), static_cast<float>(deviation));
  Tensor table = drawn;
  if (type != Dtype::f32) {
    table = backend.allocate(type, drawn.shape());
    backend.copy(table, drawn);
  }
  return parts == nullptr ? table : parts->shard_of(table);
}

Weights init_weights(Backend& backend, const Config& config, Dtype type, uint64_t seed,
                     const WeightParts* parts) {
  Weights weights;
  for (const WeightSlot& slot : weight_slots(weights, config)) {
    if (slot.optional) {
      *slot.tensor = init_position_table(backend, config, type, seed, parts);
      continue;
    }
    // Numbers are drawn in f32 and rounded, so that both types start from the same weights.
    const Tensor drawn = backend.allocate(Dtype::f32, slot.shape);
    if (slot.matrix) {
      // The last extent is a matrix's fan-in; for the embedding it is D, as for a tied output.
      const double fan_in = static_cast<double>(slot.shape.back());
      const double deviation =
          config.initializer_range > 0 ? config.initializer_range : 1 / std::sqrt(fan_in);
      backend.random_normal(drawn, seed, stream_of(slot.name), static_cast<float>(deviation));
    } else {
      const float value = slot.name.ends_with(".bias") ? 0.0F : 1.0F;
      const std::vector<float> values(static_cast<size_t>(drawn.elements()), value);
      backend.upload(drawn, values.data());
    }
    *slot.tensor = drawn;
    if (type != Dtype::f32) {
      *slot.tensor = backend.allocate(type, slot.shape);
      backend.copy(*slot.tensor, drawn);
    }
    if (parts != nullptr) *slot.tensor = parts->shard_of(*slot.tensor);
  }
  share_tied_output(weights, config);
  return weights;
}

}  // namespace ropesweep::llama
