// Shards of tensors, their gathering and the sums of gradients.
#include "worker/llama/weight_parts.h"

#include <algorithm>

#include "worker/llama/weight_slots.h"

namespace ropesweep::llama {

using backend::Dtype;
using backend::Shape;
using backend::Tensor;

WeightParts::WeightParts(backend::Backend& backend, const Config& config,
                         backend::Collective* group)
    : backend_(backend),
      config_(config),
      group_(group != nullptr && group->size() > 1 ? group : nullptr) {}

/// Elements of a shard.
int64_t WeightParts::part_of(int64_t elements) const {
  return (elements + group_->size() - 1) / group_->size();
}

Tensor WeightParts::shard_of(const Tensor& whole) const {
  if (!sharded()) return whole;
  const int64_t elements = whole.elements(), part = part_of(elements);
  const Tensor shard =
      backend_.allocate(whole.dtype(), whole.shape().size() == 2 ? Shape{1, part} : Shape{part});
  backend_.zero(shard);
  const int64_t first = std::min(group_->rank() * part, elements);
  const int64_t count = std::min(part, elements - first);
  if (count > 0) {
    backend_.copy(shard.reshape({part}).rows(0, count),
                  whole.reshape({elements}).rows(first, count));
  }
  return shard;
}

std::vector<float> WeightParts::shard_of(std::span<const float> whole) const {
  if (!sharded()) return {whole.begin(), whole.end()};
  const auto part = static_cast<size_t>(part_of(static_cast<int64_t>(whole.size())));
  const size_t first = std::min(static_cast<size_t>(group_->rank()) * part, whole.size());
  const auto own = whole.subspan(first, std::min(part, whole.size() - first));
  std::vector<float> shard(own.begin(), own.end());
  shard.resize(part, 0.0F);
  return shard;
}

Tensor WeightParts::whole_of(const Tensor& kept, const Shape& shape) const {
  if (!sharded()) return kept;
  const Tensor padded = backend_.allocate(kept.dtype(), {group_->size() * kept.elements()});
  group_->all_gather(padded, kept);
  int64_t elements = 1;
  for (const int64_t extent : shape) elements *= extent;
  return padded.rows(0, elements).reshape(shape);
}

/// Where a pass adds the gradient of a tensor of which `kept` is what this rank keeps.
Tensor WeightParts::gradient_of(const Tensor& kept, const Shape& shape) const {
  if (!sharded()) return kept;
  const Tensor gradient = backend_.allocate(Dtype::f32, shape);
  backend_.zero(gradient);
  return gradient;
}

void WeightParts::reduce(const Tensor& kept, const Tensor& gradient) const {
  if (!sharded()) return;
  const int64_t elements = gradient.elements(), padded = group_->size() * kept.elements();
  Tensor parts = gradient.reshape({elements});
  if (padded != elements) {
    parts = backend_.allocate(Dtype::f32, {padded});
    backend_.zero(parts);
    backend_.copy(parts.rows(0, elements), gradient.reshape({elements}));
  }
  const Tensor sum = backend_.allocate(Dtype::f32, kept.shape());
  group_->reduce_scatter(sum, parts);
  backend_.add(kept, sum);
}

Tensor WeightParts::embedding(const Weights& kept) const {
  return whole_of(kept.embedding, {config_.vocabulary, config_.width});
}

Layer WeightParts::layer(const Weights& kept, size_t layer) const {
  if (!sharded()) return kept.layers[layer];
  Layer whole;
  for (const auto& [name, field] : layer_fields()) {
    whole.*field = whole_of(kept.layers[layer].*field, layer_shape(config_, field));
  }
  return whole;
}

Head WeightParts::head(const Weights& kept) const {
  return {whole_of(kept.final_norm, {config_.width}),
          whole_of(kept.output, {config_.vocabulary, config_.width})};
}

Weights WeightParts::whole(const Weights& kept) const {
  if (!sharded()) return kept;
  Weights all;
  all.embedding = embedding(kept);
  for (size_t i = 0; i < kept.layers.size(); ++i) all.layers.push_back(layer(kept, i));
  all.final_norm = whole_of(kept.final_norm, {config_.width});
  all.output = output_is_tied(kept) ? all.embedding
                                    : whole_of(kept.output, {config_.vocabulary, config_.width});
  return all;
}

Tensor WeightParts::embedding_gradient(const Weights& kept) const {
  return gradient_of(kept.embedding, {config_.vocabulary, config_.width});
}

Layer WeightParts::layer_gradients(const Weights& kept, size_t layer) const {
  if (!sharded()) return kept.layers[layer];
  Layer gradients;
  for (const auto& [name, field] : layer_fields()) {
    gradients.*field = gradient_of(kept.layers[layer].*field, layer_shape(config_, field));
  }
  return gradients;
}

Head WeightParts::head_gradients(const Weights& kept) const {
  return {gradient_of(kept.final_norm, {config_.width}),
          gradient_of(kept.output, {config_.vocabulary, config_.width})};
}

void WeightParts::reduce_embedding(const Weights& kept, const Tensor& gradient) const {
  reduce(kept.embedding, gradient);
}

void WeightParts::reduce_layer(const Weights& kept, size_t layer, const Layer& gradients) const {
  if (!sharded()) return;
  for (const auto& [name, field] : layer_fields()) {
    reduce(kept.layers[layer].*field, gradients.*field);
  }
}

void WeightParts::reduce_head(const Weights& kept, const Head& gradients) const {
  reduce(kept.final_norm, gradients.final_norm);
  reduce(kept.output, gradients.output);
}

std::vector<Shape> WeightParts::shapes() const {
  Weights places;
  std::vector<Shape> shapes;
  for (const WeightSlot& slot : weight_slots(places, config_)) shapes.push_back(slot.shape);
  return shapes;
}

}  // namespace ropesweep::llama
