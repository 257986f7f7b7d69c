// Names and shapes of weights, as transformers' LlamaForCausalLM and its relatives have them, but
// for GPT-NeoX's fused query, key and value (fused_heads.h).
//
// Letters: D width · F hidden · H heads · G key-value heads · K head dimension · V vocabulary
#include "worker/llama/weight_slots.h"

namespace ropesweep::llama {
namespace {

using backend::Shape;
using backend::Tensor;

const LayerField llama_fields[] = {
    {"input_layernorm.weight", &Layer::attention_norm},
    {"self_attn.q_proj.weight", &Layer::query},
    {"self_attn.k_proj.weight", &Layer::key},
    {"self_attn.v_proj.weight", &Layer::value},
    {"self_attn.o_proj.weight", &Layer::attention_output},
    {"post_attention_layernorm.weight", &Layer::mlp_norm},
    {"mlp.gate_proj.weight", &Layer::gate},
    {"mlp.up_proj.weight", &Layer::up},
    {"mlp.down_proj.weight", &Layer::down},
    {"self_attn.q_proj.bias", &Layer::query_bias},
    {"self_attn.k_proj.bias", &Layer::key_bias},
    {"self_attn.v_proj.bias", &Layer::value_bias},
};

const LayerField gpt_neox_fields[] = {
    {"input_layernorm.weight", &Layer::attention_norm},
    {"input_layernorm.bias", &Layer::attention_norm_bias},
    {"attention.query.weight", &Layer::query},
    {"attention.key.weight", &Layer::key},
    {"attention.value.weight", &Layer::value},
    {"attention.query.bias", &Layer::query_bias},
    {"attention.key.bias", &Layer::key_bias},
    {"attention.value.bias", &Layer::value_bias},
    {"attention.dense.weight", &Layer::attention_output},
    {"attention.dense.bias", &Layer::attention_output_bias},
    {"post_attention_layernorm.weight", &Layer::mlp_norm},
    {"post_attention_layernorm.bias", &Layer::mlp_norm_bias},
    {"mlp.dense_h_to_4h.weight", &Layer::up},
    {"mlp.dense_h_to_4h.bias", &Layer::up_bias},
    {"mlp.dense_4h_to_h.weight", &Layer::down},
    {"mlp.dense_4h_to_h.bias", &Layer::down_bias},
};

std::span<const LayerField> all_fields(Naming naming) {
  if (naming == Naming::gpt_neox) return gpt_neox_fields;
  return llama_fields;
}

/// Names of what surrounds the layers.
struct OuterNames {
  const char *embedding, *layers, *final_norm, *final_norm_bias, *output;
};

OuterNames outer_names(Naming naming) {
  if (naming == Naming::gpt_neox) {
    return {"gpt_neox.embed_in.weight", "gpt_neox.layers.", "gpt_neox.final_layer_norm.weight",
            "gpt_neox.final_layer_norm.bias", "embed_out.weight"};
  }
  return {"model.embed_tokens.weight", "model.layers.", "model.norm.weight", "model.norm.bias",
          output_name};
}

std::string layer_name(Naming naming, size_t layer, const char* field) {
  return outer_names(naming).layers + std::to_string(layer) + "." + field;
}

bool has_field(const Family& family, Tensor Layer::*field) {
  if (field == &Layer::gate) return family.gated;
  if (field == &Layer::attention_norm_bias || field == &Layer::mlp_norm_bias) {
    return family.layer_norm;
  }
  if (field == &Layer::query_bias || field == &Layer::key_bias || field == &Layer::value_bias) {
    return family.query_key_value_bias;
  }
  if (field == &Layer::attention_output_bias) return family.attention_output_bias;
  if (field == &Layer::up_bias || field == &Layer::down_bias) return family.mlp_bias;
  return true;
}

}  // namespace

std::vector<LayerField> layer_fields(const Config& config) {
  std::vector<LayerField> fields;
  for (const LayerField& field : all_fields(config.family.naming)) {
    if (has_field(config.family, field.field)) fields.push_back(field);
  }
  return fields;
}

Shape layer_shape(const Config& config, Tensor Layer::*field) {
  const int64_t queries = config.heads * config.head_dim;
  const int64_t keys = config.kv_heads * config.head_dim;
  if (field == &Layer::query) return {queries, config.width};
  if (field == &Layer::key || field == &Layer::value) return {keys, config.width};
  if (field == &Layer::attention_output) return {config.width, queries};
  if (field == &Layer::gate || field == &Layer::up) return {config.hidden, config.width};
  if (field == &Layer::down) return {config.width, config.hidden};
  if (field == &Layer::query_bias) return {queries};
  if (field == &Layer::key_bias || field == &Layer::value_bias) return {keys};
  if (field == &Layer::up_bias) return {config.hidden};
  return {config.width};  // the norms, and biases of what is added to the residual
}

std::vector<WeightSlot> weight_slots(Weights& weights, const Config& config) {
  const Shape vocabulary_by_width = {config.vocabulary, config.width};
  const Naming naming = config.family.naming;
  const OuterNames names = outer_names(naming);
  weights.naming = naming;
  weights.layers.resize(static_cast<size_t>(config.layers));
  std::vector<WeightSlot> slots;
  slots.push_back({names.embedding, vocabulary_by_width, true, &weights.embedding});
  for (size_t layer = 0; layer < weights.layers.size(); ++layer) {
    for (const auto& [name, field] : layer_fields(config)) {
      const Shape shape = layer_shape(config, field);
      slots.push_back({layer_name(naming, layer, name), shape, shape.size() == 2,
                       &(weights.layers[layer].*field)});
    }
  }
  slots.push_back({names.final_norm, {config.width}, false, &weights.final_norm});
  if (config.family.layer_norm) {
    slots.push_back({names.final_norm_bias, {config.width}, false, &weights.final_norm_bias});
  }
  if (!config.tied) slots.push_back({names.output, vocabulary_by_width, true, &weights.output});
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
  const OuterNames names = outer_names(weights.naming);
  std::vector<NamedTensor> named;
  named.push_back({names.embedding, weights.embedding, true});
  for (size_t layer = 0; layer < weights.layers.size(); ++layer) {
    for (const auto& [name, field] : all_fields(weights.naming)) {
      const Tensor& tensor = weights.layers[layer].*field;
      if (tensor.empty()) continue;
      named.push_back(
          {layer_name(weights.naming, layer, name), tensor, tensor.shape().size() == 2});
    }
  }
  named.push_back({names.final_norm, weights.final_norm, false});
  if (!weights.final_norm_bias.empty()) {
    named.push_back({names.final_norm_bias, weights.final_norm_bias, false});
  }
  if (!output_is_tied(weights)) named.push_back({names.output, weights.output, true});
  if (!weights.position_table.empty()) {
    named.push_back({position_table_name, weights.position_table, false});
  }
  return named;
}

Weights zeros_like(backend::Backend& backend, const Weights& weights) {
  const auto zeros = [&](const Tensor& like) {
    if (like.empty()) return Tensor();
    const Tensor tensor = backend.allocate(backend::Dtype::f32, like.shape());
    backend.zero(tensor);
    return tensor;
  };
  Weights result;
  result.naming = weights.naming;
  result.layers.resize(weights.layers.size());
  result.embedding = zeros(weights.embedding);
  for (size_t layer = 0; layer < weights.layers.size(); ++layer) {
    for (const auto& [name, field] : all_fields(weights.naming)) {
      result.layers[layer].*field = zeros(weights.layers[layer].*field);
    }
  }
  result.final_norm = zeros(weights.final_norm);
  result.final_norm_bias = zeros(weights.final_norm_bias);
  result.output = output_is_tied(weights) ? result.embedding : zeros(weights.output);
  if (!weights.position_table.empty()) result.position_table = zeros(weights.position_table);
  return result;
}

}  // namespace ropesweep::llama
