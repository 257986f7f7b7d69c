// Adapters on disk, as PEFT has them: adapter_config.json and adapter_model.safetensors in a
// directory, over the weights of another one. What a fine-tune with LoRA leaves has a config.json
// (with its scheme) and the tokenizer beside them, and can be named wherever a model can; adapters
// that PEFT wrote can too.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "experiments/settings.h"
#include "worker/llama/adapter_directory.h"
#include "worker/llama/lora.h"

namespace ropesweep::llama {

/// Errors: user error naming the file for what PEFT can do and this program can't (another method,
/// DoRA, biases, saved modules, other matrices), and for tensors that don't fit `config`.
/// GPT-NeoX's query_key_value: as three pairs (lora_pairs.h).
LoraWeights load_adapter(backend::Backend& backend, const std::filesystem::path& directory,
                         const Config& config);

/// As load_weights; of an adapter its base's, with the adapter merged into them (and so on down).
/// `given`: the base of an adapter whose own is not there.
Weights load_merged_weights(backend::Backend& backend, const std::filesystem::path& directory,
                            const std::filesystem::path& given, const Config& config,
                            backend::Dtype type, const WeightParts* parts = nullptr);

/// Writes adapter_config.json and adapter_model.safetensors into an existing folder, such that PEFT
/// loads them; returns their names. `base`: what the config calls the base model.
std::vector<std::string> write_adapter(backend::Backend& backend,
                                       const std::filesystem::path& folder, const LoraWeights& lora,
                                       const LoraSettings& settings, const std::string& base,
                                       const Config& config);

/// As save_checkpoint (save_checkpoint.cpp), with the adapter in the weights' place. In a group
/// rank 0 writes.
void save_adapter_checkpoint(backend::Backend& backend, const std::filesystem::path& directory,
                             const LoraWeights& lora, const LoraSettings& settings,
                             const std::string& base, const Config& config, backend::Dtype type,
                             const std::string& scheme, double scale,
                             const std::filesystem::path& tokenizer_source,
                             backend::Collective* group = nullptr);

}  // namespace ropesweep::llama
