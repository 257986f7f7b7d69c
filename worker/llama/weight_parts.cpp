// Shards of tensors, their gathering and the sums of gradients.
#include "worker/llama/weight_parts.h"

#include <algorithm>

#include "worker/llama/weight_slots.h"

namespace ropesweep::llama {

using backend::Dtype;
using backend::Shape;
using backend::Tensor;

namespace {

/// The final norm, with its bias where there is one.
std::vector<Tensor> head_norms(const Tensor& weight, const Tensor& bias) {
  std::vector<Tensor> norms = {weight};
  if (!bias.empty()) norms.push_back(bias);
  return norms;
}

}  // namespace

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
  PendingParts pending;
  Tensor whole = gather({&kept, 1}, {&shape, 1}, pending)[0];
  return Gathering<Tensor>(std::move(whole), std::move(pending)).take();
}

std::vector<Tensor> WeightParts::gather(std::span<const Tensor> kept, std::span<const Shape> shapes,
                                        PendingParts& pending) const {
  std::vector<Tensor> padded, whole;
  for (size_t i = 0; i < kept.size(); ++i) {
    padded.push_back(backend_.allocate(kept[i].dtype(), {group_->size() * kept[i].elements()}));
    int64_t elements = 1;
    for (const int64_t extent : shapes[i]) elements *= extent;
    whole.push_back(padded[i].rows(0, elements).reshape(shapes[i]));
  }
  pending.push_back(group_->begin_all_gather(padded, kept));
  return whole;
}

/// Where a pass adds the gradient of a tensor of which `kept` is what this rank keeps.
Tensor WeightParts::gradient_of(const Tensor& kept, const Shape& shape) const {
  if (!sharded() || kept.empty()) return kept;
  const Tensor gradient = backend_.allocate(Dtype::f32, shape);
  backend_.zero(gradient);
  return gradient;
}

Summing WeightParts::reduce(std::span<const Tensor> kept, std::span<const Tensor> gradients) const {
  Summing summing;
  if (!sharded()) return summing;
  summing.backend_ = &backend_;
  std::vector<Tensor> terms;
  for (size_t i = 0; i < kept.size(); ++i) {
    if (kept[i].empty()) continue;
    summing.kept_.push_back(kept[i]);
    summing.sums_.push_back(backend_.allocate(Dtype::f32, kept[i].shape()));
    const int64_t elements = gradients[i].elements();
    const int64_t padded = group_->size() * kept[i].elements();
    terms.push_back(gradients[i].reshape({elements}));
    if (padded == elements) continue;
    terms.back() = backend_.allocate(Dtype::f32, {padded});
    backend_.zero(terms.back());
    backend_.copy(terms.back().rows(0, elements), gradients[i].reshape({elements}));
  }
  if (terms.empty()) return summing;
  summing.pending_ = group_->begin_reduce_scatter(summing.sums_, terms);
  return summing;
}

void Summing::finish() {
  if (pending_ != nullptr) pending_->wait();
  for (size_t i = 0; i < kept_.size(); ++i) backend_->add(kept_[i], sums_[i]);
  *this = {};
}

Gathering<Tensor> WeightParts::embedding(const Weights& kept) const {
  if (!sharded()) return {kept.embedding, {}};
  const Shape shape = {config_.vocabulary, config_.width};
  PendingParts pending;
  Tensor whole = gather({&kept.embedding, 1}, {&shape, 1}, pending)[0];
  return {std::move(whole), std::move(pending)};
}

Gathering<Layer> WeightParts::layer(const Weights& kept, size_t layer) const {
  if (!sharded()) return {kept.layers[layer], {}};
  std::vector<Tensor> shards;
  std::vector<Shape> shapes;
  for (const auto& [name, field] : layer_fields(config_)) {
    shards.push_back(kept.layers[layer].*field);
    shapes.push_back(layer_shape(config_, field));
  }
  PendingParts pending;
  const std::vector<Tensor> gathered = gather(shards, shapes, pending);
  Layer whole;
  const std::vector<LayerField> fields = layer_fields(config_);
  for (size_t i = 0; i < gathered.size(); ++i) whole.*(fields[i].field) = gathered[i];
  return {std::move(whole), std::move(pending)};
}

Gathering<Head> WeightParts::head(const Weights& kept) const {
  if (!sharded()) return {{kept.final_norm, kept.output, kept.final_norm_bias}, {}};
  const std::vector<Tensor> norms = head_norms(kept.final_norm, kept.final_norm_bias);
  const std::vector<Shape> shapes(norms.size(), Shape{config_.width});
  const Shape output = {config_.vocabulary, config_.width};
  PendingParts pending;  // two messages: one would copy the large matrix into it and out of it
  const std::vector<Tensor> whole_norms = gather(norms, shapes, pending);
  Head whole;
  whole.final_norm = whole_norms.front();
  if (whole_norms.size() > 1) whole.final_norm_bias = whole_norms.back();
  whole.output = gather({&kept.output, 1}, {&output, 1}, pending)[0];
  return {std::move(whole), std::move(pending)};
}

Weights WeightParts::whole(const Weights& kept) const {
  if (!sharded()) return kept;
  Weights all;
  all.naming = kept.naming;
  all.embedding = embedding(kept).take();
  for (size_t i = 0; i < kept.layers.size(); ++i) all.layers.push_back(layer(kept, i).take());
  all.final_norm = whole_of(kept.final_norm, {config_.width});
  if (!kept.final_norm_bias.empty()) {
    all.final_norm_bias = whole_of(kept.final_norm_bias, {config_.width});
  }
  all.output = output_is_tied(kept) ? all.embedding
                                    : whole_of(kept.output, {config_.vocabulary, config_.width});
  if (!kept.position_table.empty()) all.position_table = position_table(kept);
  return all;
}

Tensor WeightParts::position_table(const Weights& kept) const {
  return whole_of(kept.position_table, config_.position_table);
}

Tensor WeightParts::position_table_gradient(const Weights& kept) const {
  return gradient_of(kept.position_table, config_.position_table);
}

Summing WeightParts::reduce_position_table(const Weights& kept, const Tensor& gradient) const {
  return reduce({&kept.position_table, 1}, {&gradient, 1});
}

Tensor WeightParts::embedding_gradient(const Weights& kept) const {
  return gradient_of(kept.embedding, {config_.vocabulary, config_.width});
}

Layer WeightParts::layer_gradients(const Weights& kept, size_t layer) const {
  if (!sharded()) return kept.layers[layer];
  Layer gradients;
  for (const auto& [name, field] : layer_fields(config_)) {
    gradients.*field = gradient_of(kept.layers[layer].*field, layer_shape(config_, field));
  }
  return gradients;
}

Head WeightParts::head_gradients(const Weights& kept) const {
  Head gradients{gradient_of(kept.final_norm, {config_.width}),
                 gradient_of(kept.output, {config_.vocabulary, config_.width}),
                 {}};
  if (!kept.final_norm_bias.empty()) {
    gradients.final_norm_bias = gradient_of(kept.final_norm_bias, {config_.width});
  }
  return gradients;
}

Summing WeightParts::reduce_embedding(const Weights& kept, const Tensor& gradient) const {
  return reduce({&kept.embedding, 1}, {&gradient, 1});
}

Summing WeightParts::reduce_layer(const Weights& kept, size_t layer, const Layer& gradients) const {
  if (!sharded()) return {};
  std::vector<Tensor> shards, terms;
  for (const auto& [name, field] : layer_fields(config_)) {
    shards.push_back(kept.layers[layer].*field);
    terms.push_back(gradients.*field);
  }
  return reduce(shards, terms);
}

Summing WeightParts::reduce_head(const Weights& kept, const Head& gradients) const {
  std::vector<Tensor> shards = head_norms(kept.final_norm, kept.final_norm_bias);
  std::vector<Tensor> terms = head_norms(gradients.final_norm, gradients.final_norm_bias);
  shards.push_back(kept.output);
  terms.push_back(gradients.output);
  return reduce(shards, terms);
}

std::vector<Shape> WeightParts::shapes() const {
  Weights places;
  std::vector<Shape> shapes;
  for (const WeightSlot& slot : weight_slots(places, config_)) shapes.push_back(slot.shape);
  return shapes;
}

}  // namespace ropesweep::llama
