// Names and shapes of a Llama's weights, as transformers' LlamaForCausalLM has them.
//
// Letters: D width · F hidden · H heads · G key-value heads · K head dimension · V vocabulary
#include "worker/llama/weight_slots.h"

namespace ropesweep::llama {
namespace {

using backend::Shape;
using backend::Tensor;

const LayerField fields[] = {
    {"input_layernorm.weight", &Layer::attention_norm},
    {"self_attn.q_proj.weight", &Layer::query},
    {"self_attn.k_proj.weight", &Layer::key},
    {"self_attn.v_proj.weight", &Layer::value},
    {"self_attn.o_proj.weight", &Layer::attention_output},
    {"post_attention_layernorm.weight", &Layer::mlp_norm},
    {"mlp.gate_proj.weight", &Layer::gate},
    {"mlp.up_proj.weight", &Layer::up},
    {"mlp.down_proj.weight", &Layer::down},
};

std::string layer_name(size_t layer, const char* field) {
  return "model.layers." + std::to_string(layer) + "." + field;
}

}  // namespace

std::span<const LayerField> layer_fields() { return fields; }

Shape layer_shape(const Config& config, Tensor Layer::*field) {
  const int64_t queries = config.heads * config.head_dim;
  const int64_t keys = config.kv_heads * config.head_dim;
  if (field == &Layer::query) return {queries, config.width};
  if (field == &Layer::key || field == &Layer::value) return {keys, config.width};
  if (field == &Layer::attention_output) return {config.width, queries};
  if (field == &Layer::gate || field == &Layer::up) return {config.hidden, config.width};
  if (field == &Layer::down) return {config.width, config.hidden};
  return {config.width};  // the norms
}

std::vector<WeightSlot> weight_slots(Weights& weights, const Config& config) {
  const Shape vocabulary_by_width = {config.vocabulary, config.width};
  weights.layers.resize(static_cast<size_t>(config.layers));
  std::vector<WeightSlot> slots;
  slots.push_back({"model.embed_tokens.weight", vocabulary_by_width, true, &weights.embedding});
  for (size_t layer = 0; layer < weights.layers.size(); ++layer) {
    for (const auto& [name, field] : layer_fields()) {
      const Shape shape = layer_shape(config, field);
      slots.push_back(
          {layer_name(layer, name), shape, shape.size() == 2, &(weights.layers[layer].*field)});
    }
  }
  slots.push_back({"model.norm.weight", {config.width}, false, &weights.final_norm});
  if (!config.tied) slots.push_back({output_name, vocabulary_by_width, true, &weights.output});
  if (!config.position_table.empty()) {
    slots.push_back(
        {position_table_name, config.position_table, false, &weights.position_table, true});
  }
  return slots;
}

void share_tied_output(Weights& weights, const Config& config) {
  if (config.tied) weights.output = weights.embedding;
}

bool output_is_tied(const Weights& weights) {
  return weights.output.raw() == weights.embedding.raw();
}

std::vector<NamedTensor> named_tensors(const Weights& weights) {
  std::vector<NamedTensor> named;
  named.push_back({"model.embed_tokens.weight", weights.embedding, true});
  for (size_t layer = 0; layer < weights.layers.size(); ++layer) {
    for (const auto& [name, field] : layer_fields()) {
      const Tensor& tensor = weights.layers[layer].*field;
      named.push_back({layer_name(layer, name), tensor, tensor.shape().size() == 2});
    }
  }
  named.push_back({"model.norm.weight", weights.final_norm, false});
  if (!output_is_tied(weights)) named.push_back({output_name, weights.output, true});
  if (!weights.position_table.empty()) {
    named.push_back({position_table_name, weights.position_table, false});
  }
  return named;
}

Weights zeros_like(backend::Backend& backend, const Weights& weights) {
  const auto zeros = [&](const Tensor& like) {
    const Tensor tensor = backend.allocate(backend::Dtype::f32, like.shape());
    backend.zero(tensor);
    return tensor;
  };
  Weights result;
  result.layers.resize(weights.layers.size());
  result.embedding = zeros(weights.embedding);
  for (size_t layer = 0; layer < weights.layers.size(); ++layer) {
    for (const auto& [name, field] : layer_fields()) {
      result.layers[layer].*field = zeros(weights.layers[layer].*field);
    }
  }
  result.final_norm = zeros(weights.final_norm);
  result.output = output_is_tied(weights) ? result.embedding : zeros(weights.output);
  if (!weights.position_table.empty()) result.position_table = zeros(weights.position_table);
  return result;
}

}  // namespace ropesweep::llama
