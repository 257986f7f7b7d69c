// The Llama's forward pass (Touvron et al. 2023; Ainslie et al. 2023 for grouped queries).
//
//   x = embedding[ids]
//   each layer:  x += o · attention(rope(q n), rope(k n), v n)    n = rms_norm(x)
//                x += down · (silu(gate n) ⊙ up n)                n = rms_norm(x)
//   logits = output · rms_norm(x)
//
// Other families (family.h) have LayerNorms, biases, an MLP without a gate, or one that reads the
// layer's input x; family_blocks.cpp has what they need.
//
// The residual stream x has the model's type. The products that end a block add to it while their
// sums are still in f32, so in bf16 it is rounded once a block, where PyTorch rounds twice, and no
// pass over memory is spent on the addition.
//
// Letters: B batch · T tokens · R = B·T · D width · H heads · G key-value heads · K head dimension
//          F hidden · V vocabulary · S keys (past + T)
#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "experiments/error.h"
#include "worker/llama/activations.h"

namespace ropesweep::llama {
namespace {

using backend::Backend;
using backend::Dtype;
using backend::Shape;
using backend::Tensor;

// Without a backward pass the MLP runs over this many rows at a time, so that a long pass needs
// little memory. Fewer would pay more for packing the weights, which a product does each time.
constexpr int64_t mlp_slice_rows = 4096;
// A backend may sum a handful of rows in another order. Longer passes never cut off so few, or a
// row's bits would depend on how many follow.
constexpr int64_t least_rows = 32;
// Bytes of f32 logits that exist at a time when only losses are asked for.
constexpr int64_t loss_logits_bytes = int64_t{64} << 20;

}  // namespace

Model::Model(Backend& backend, Config config, Weights weights, backend::Collective* group)
    : backend_(backend),
      config_(std::move(config)),
      weights_(std::move(weights)),
      parts_(backend_, config_, group) {
  type_ = weights_.embedding.dtype();
  use_positions(make_position_encoding(config_.own_scheme, config_.own_scale, config_.rotary));
}

void Model::use_positions(std::shared_ptr<const PositionEncoding> positions) {
  if (positions->shape().head_dim != config_.rotary.head_dim) {
    throw std::invalid_argument("Model::use_positions: built for another head dimension");
  }
  positions_ = std::move(positions);
  rope_cache_.clear();
  follow_rule();
}

Tensor Model::new_rows(int64_t rows, int64_t columns) {
  return backend_.allocate(type_, {rows, columns});
}

Tensor Model::new_f32(Shape shape) { return backend_.allocate(Dtype::f32, std::move(shape)); }

Tensor Model::upload_ids(std::span<const int32_t> ids) {
  const Tensor tensor = backend_.allocate(Dtype::i32, {static_cast<int64_t>(ids.size())});
  backend_.upload(tensor, ids.data());
  return tensor;
}

void Model::check_ids(std::span<const int32_t> ids, const char* what) const {
  const auto highest = std::max_element(ids.begin(), ids.end());
  if (highest != ids.end() && *highest >= config_.vocabulary) {
    throw_user_error(
        "{} {} is past the model's vocabulary of {}: tokenizer and weights do not belong together",
        what, *highest, config_.vocabulary);
  }
}

/// `length`: tokens of the whole sequence, for the positions; 0: those of the pass.
Model::Pass Model::make_pass(std::span<const int32_t> ids, int64_t batch, int64_t length) {
  if (batch < 1 || ids.empty() || static_cast<int64_t>(ids.size()) % batch != 0) {
    throw std::invalid_argument("Model: ids must be [B, T] with at least one token");
  }
  check_ids(ids, "token id");
  if (*std::min_element(ids.begin(), ids.end()) < 0) {
    throw std::invalid_argument("Model: a token id is negative");
  }
  Pass pass;
  pass.batch = batch;
  pass.tokens = static_cast<int64_t>(ids.size()) / batch;
  pass.ids = upload_ids(ids);
  const int64_t positions = length == 0 ? pass.tokens : length;
  prepare_positions(pass, positions);
  if (rule_ == nullptr) {
    pass.rope = rope_cache_.tables(backend_, *positions_, positions, positions);
  }
  return pass;
}

void Model::split_sequences(backend::Collective* group) {
  sequence_group_ = group != nullptr && group->size() > 1 ? group : nullptr;
}

/// Of whole sequences, or of this rank's part of one.
Model::Pass Model::make_scoring_pass(std::span<const int32_t> ids, int64_t batch) {
  if (sequence_group_ == nullptr) {
    Pass pass = make_pass(ids, batch, 0);
    prepare_documents(pass);
    return pass;
  }
  if (!documents_.empty()) {
    documents_.clear();
    throw_user_error(
        "separate_documents: a sequence that is split over devices can't keep its documents apart; "
        "take a shorter context_length or leave it out");
  }
  if (batch != 1) throw std::invalid_argument("Model: only one sequence at a time can be split");
  const SequenceSplit split(backend_, *sequence_group_, static_cast<int64_t>(ids.size()));
  Pass pass = make_pass(split.own(ids, 0), 1, split.tokens());
  if (rule_ == nullptr) {
    pass.rope = rope_cache_.tables(backend_, *positions_, split.padded(), split.tokens());
  }
  pass.split.emplace(split);
  return pass;
}

/// The tables' rows of some positions, i32 [R]: for a pass whose rows each have one (row_each).
RopeCache::Tables Model::tables_at(const RopeCache::Tables& tables, const Tensor& positions) {
  const auto gathered = [&](const backend::RopeTensors& table) {
    const backend::RopeTensors rows = {new_f32({positions.dim(0), table.cos.dim(1)}),
                                       new_f32({positions.dim(0), table.sin.dim(1)})};
    backend_.embedding(rows.cos, table.cos, positions);
    backend_.embedding(rows.sin, table.sin, positions);
    return rows;
  };
  RopeCache::Tables rows;
  rows.query = gathered(tables.query);
  const bool same = tables.key.cos.raw() == tables.query.cos.raw();
  rows.key = same ? rows.query : gathered(tables.key);
  return rows;
}

/// Each row of x by its token's position. Under a rule rows are rotated where they are attended to,
/// those of several sequences one by one.
void Model::rotate(const Tensor& x, const backend::RopeTensors& table, const Pass& pass) {
  if (rule_ != nullptr || !pass.members.empty()) return;
  if (pass.row_each) return backend_.rope(x, x, table, 0, pass.rows());
  for (const auto& [first, tokens] : pass.documents) {
    backend_.rope(x.rows(first, tokens), x.rows(first, tokens), table, 0, tokens);
  }
  if (!pass.documents.empty()) return;
  if (!pass.split) return backend_.rope(x, x, table, pass.past(), pass.tokens);
  for (const auto& [row, position, tokens] : pass.split->chunks()) {
    const Tensor rows = x.rows(row, tokens);
    backend_.rope(rows, rows, table, position, tokens);
  }
}

void Model::rotate_backward(const Tensor& d_x, const backend::RopeTensors& table,
                            const Pass& pass) {
  if (rule_ != nullptr) return;
  if (pass.row_each) return backend_.rope_backward(d_x, d_x, table, 0, pass.rows());
  for (const auto& [first, tokens] : pass.documents) {
    backend_.rope_backward(d_x.rows(first, tokens), d_x.rows(first, tokens), table, 0, tokens);
  }
  if (!pass.documents.empty()) return;
  if (!pass.split) return backend_.rope_backward(d_x, d_x, table, 0, pass.tokens);
  for (const auto& [row, position, tokens] : pass.split->chunks()) {
    const Tensor rows = d_x.rows(row, tokens);
    backend_.rope_backward(rows, rows, table, position, tokens);
  }
}

/// Of plain attention in a layer.
backend::AttentionShape Model::attention_shape(size_t layer, int64_t batch, int64_t queries,
                                               int64_t keys) const {
  const float scale = 1.0F / std::sqrt(static_cast<float>(config_.head_dim));
  backend::AttentionShape shape = {
      batch, queries, keys, config_.heads, config_.kv_heads, config_.head_dim, scale};
  const int64_t window = config_.family.window(layer);
  if (window > 0) shape.farthest = window;
  return shape;
}

Tensor Model::embed(const Pass& pass, const Tensor& table) {
  const Tensor residual = new_rows(pass.rows(), config_.width);
  backend_.embedding(residual, table, pass.ids);
  add_positions(pass, residual);
  return residual;
}

/// Begins to gather what a forward pass needs after `layer`: the next one or, where it is wanted,
/// the head.
void Model::gather_after(size_t layer, Gathering<Layer>& next, Gathering<Head>* head) const {
  if (layer + 1 < weights_.layers.size()) {
    next = parts_.layer(weights_, layer + 1);
  } else if (head != nullptr) {
    *head = parts_.head(weights_);
  }
}

/// residual + o · attention; in place unless the pass keeps its activations.
Tensor Model::attention_block(const Layer& w, size_t layer, const Pass& pass,
                              const Tensor& residual, AttentionActivations& a) {
  const int64_t rows = pass.rows();
  a.residual = residual;
  a.normed = new_rows(rows, config_.width);
  a.rstd = norm(a.normed, residual, w.attention_norm, w.attention_norm_bias);

  a.query = new_rows(rows, config_.heads * config_.head_dim);
  project(a.query, a.normed, w, &Layer::query, layer, pass, set_bias(a.query, w.query_bias));
  if (pass.sums != nullptr) add_to_sums(pass.sums->query, layer, a.query);
  a.query = a.query.reshape({rows, config_.heads, config_.head_dim});
  rotate(a.query, pass.rope.query, pass);
  attend(w, layer, pass, a);

  const Tensor out = pass.keep ? copied(backend_, residual) : residual;
  project(out, a.attended.reshape({rows, config_.heads * config_.head_dim}), w,
          &Layer::attention_output, layer, pass, true);
  add_bias(out, w.attention_output_bias);
  return out;
}

/// Keys and values of the pass's rows, in the cache when there is one, and the attention over them
/// unless `a` has its result.
void Model::attend(const Layer& w, size_t layer, const Pass& pass, AttentionActivations& a) {
  const int64_t rows = pass.rows(), past = pass.past();
  const Shape of_heads = {rows, config_.kv_heads, config_.head_dim};
  const Shape of_product = {rows, config_.kv_heads * config_.head_dim};
  const bool in_cache = pass.cache && pass.branches.empty();
  a.key = in_cache ? pass.cache->keys[layer].rows(past, rows) : backend_.allocate(type_, of_heads);
  a.value =
      in_cache ? pass.cache->values[layer].rows(past, rows) : backend_.allocate(type_, of_heads);
  project(a.key.reshape(of_product), a.normed, w, &Layer::key, layer, pass,
          set_bias(a.key, w.key_bias));
  if (pass.sums != nullptr) add_to_sums(pass.sums->key, layer, a.key.reshape(of_product));
  project(a.value.reshape(of_product), a.normed, w, &Layer::value, layer, pass,
          set_bias(a.value, w.value_bias));

  if (pass.recorded()) return attend_recorded(layer, pass, a);
  if (!pass.branches.empty()) return attend_branches(layer, pass, a);
  if (!pass.members.empty()) return attend_members(layer, pass, a);
  attend_projected(layer, pass, a);
}

/// The rest of it, when keys and values are where they belong, not rotated.
void Model::attend_projected(size_t layer, const Pass& pass, AttentionActivations& a) {
  const int64_t keys = pass.past() + pass.tokens;
  if (rule_ != nullptr) return attend_by_rule(layer, pass, a);
  Tensor key = a.key, value = a.value;
  if (pass.cache && !pass.cache->rotated) {
    // Every key's rotation changes with the length: the cache has them as the products gave them.
    key = backend_.allocate(type_, {keys, config_.kv_heads, config_.head_dim});
    backend_.rope(key, pass.cache->keys[layer].rows(0, keys), pass.rope.key, 0, keys);
  } else {
    rotate(a.key, pass.rope.key, pass);
    if (pass.cache) key = pass.cache->keys[layer].rows(0, keys);
  }
  if (pass.cache) value = pass.cache->values[layer].rows(0, keys);

  if (!a.attended.empty()) return;  // kept from the first time
  a.attended = backend_.allocate(type_, a.query.shape());
  if (pass.split) return attend_split(layer, *pass.split, a);
  if (!pass.documents.empty()) return attend_documents(layer, pass, a);
  a.lse = new_f32({pass.batch, config_.heads, pass.tokens});
  backend_.attention(a.attended, a.lse, a.query, key, value,
                     attention_shape(layer, pass.batch, pass.tokens, keys));
}

/// residual + down · swiglu of the input's norm, which is the residual's or, beside attention, the
/// layer's input's; in place unless the pass keeps its activations.
Tensor Model::mlp_block(const Layer& w, size_t layer, const Pass& pass, const Tensor& input,
                        const Tensor& residual, MlpActivations& a) {
  const int64_t rows = residual.dim(0);
  a.residual = input;
  a.normed = new_rows(rows, config_.width);
  a.rstd = norm(a.normed, input, w.mlp_norm, w.mlp_norm_bias);
  if (!config_.family.gated) return plain_mlp(w, layer, pass, residual, a);

  a.gate = new_rows(rows, config_.hidden);
  a.up = new_rows(rows, config_.hidden);
  project(a.gate, a.normed, w, &Layer::gate, layer, pass, false);
  project(a.up, a.normed, w, &Layer::up, layer, pass, false);
  a.hidden = pass.keep ? new_rows(rows, config_.hidden) : a.gate;
  backend_.swiglu(a.hidden, a.gate, a.up);

  const Tensor out = pass.keep ? copied(backend_, residual) : residual;
  project(out, a.hidden, w, &Layer::down, layer, pass, true);
  return out;
}

/// All layers without keeping anything; a block's activations are gone when it ends. Begins to
/// gather the head unless it is null.
Tensor Model::infer_layers(const Pass& pass, Gathering<Head>* head) {
  Gathering<Tensor> table = parts_.embedding(weights_);
  Gathering<Layer> next = parts_.layer(weights_, 0);
  const Tensor residual = embed(pass, table.take());
  for (size_t layer = 0; layer < weights_.layers.size(); ++layer) {
    const Layer w = next.take();
    gather_after(layer, next, head);
    const Tensor input = parallel_residual() ? copied(backend_, residual) : residual;
    {
      AttentionActivations a;
      attention_block(w, layer, pass, residual, a);
    }
    for (int64_t first = 0, count = 0; first < pass.rows(); first += count) {
      const int64_t left = pass.rows() - first;
      count = left < mlp_slice_rows + least_rows ? left : mlp_slice_rows;
      MlpActivations a;
      mlp_block(w, layer, pass, input.rows(first, count), residual.rows(first, count), a);
    }
  }
  return residual;
}

/// The final norm and the output product: f32 [rows, V].
Tensor Model::output_logits(const Head& head, const Tensor& residual) {
  const int64_t rows = residual.dim(0);
  const Tensor normed = new_rows(rows, config_.width);
  norm(normed, residual, head.final_norm, head.final_norm_bias);
  const Tensor logits = new_f32({rows, config_.vocabulary});
  backend_.product(logits, normed, head.output, false);
  return logits;
}

/// Rows of f32 logits that fit into `budget` bytes: a multiple of 32, at most 1024.
int64_t Model::head_rows(int64_t budget) const {
  const int64_t fitting = budget / (config_.vocabulary * int64_t{sizeof(float)});
  return std::clamp<int64_t>(fitting / 32 * 32, 32, 1024);
}

std::vector<float> Model::token_losses(std::span<const int32_t> ids,
                                       std::span<const int32_t> targets, int64_t batch) {
  if (targets.size() != ids.size()) {
    throw std::invalid_argument("Model::token_losses: as many targets as ids");
  }
  check_ids(targets, "target");
  const Pass pass = make_scoring_pass(ids, batch);
  Gathering<Head> head;
  const Tensor residual = infer_layers(pass, &head);
  if (!pass.split) return score(head.take(), residual, targets);
  return pass.split->whole(score(head.take(), residual, pass.split->own(targets, -1)));
}

/// The loss of each row's target; 0 where there is none.
std::vector<float> Model::score(const Head& head, const Tensor& residual,
                                std::span<const int32_t> targets) {
  // Only rows that have a target get logits.
  std::vector<int32_t> scored;
  for (size_t row = 0; row < targets.size(); ++row) {
    if (targets[row] >= 0) scored.push_back(static_cast<int32_t>(row));
  }
  std::vector<float> losses(targets.size(), 0.0F);
  const auto most = static_cast<size_t>(head_rows(loss_logits_bytes));
  for (size_t first = 0; first < scored.size(); first += most) {
    const auto rows = std::span(scored).subspan(first, std::min(most, scored.size() - first));
    score_rows(head, residual, rows, targets, losses);
  }
  return losses;
}

/// losses[row] for some rows of a pass; `targets` and `losses` are those of all rows.
void Model::score_rows(const Head& head, const Tensor& residual, std::span<const int32_t> rows,
                       std::span<const int32_t> targets, std::span<float> losses) {
  std::vector<int32_t> gathered(rows.begin(), rows.end()), chunk_targets;
  for (const int32_t row : rows) chunk_targets.push_back(targets[static_cast<size_t>(row)]);
  if (gathered.size() < static_cast<size_t>(least_rows)) {
    gathered.resize(static_cast<size_t>(least_rows), gathered.back());
    chunk_targets.resize(gathered.size(), -1);
  }
  const auto count = static_cast<int64_t>(gathered.size());
  Tensor chunk;
  if (rows.size() == gathered.size() && rows.back() - rows.front() + 1 == count) {
    chunk = residual.rows(rows.front(), count);
  } else {  // a gather is an embedding of rows
    chunk = new_rows(count, config_.width);
    backend_.embedding(chunk, residual, upload_ids(gathered));
  }
  const Tensor nll = new_f32({count});
  backend_.cross_entropy(nll, output_logits(head, chunk), upload_ids(chunk_targets));
  std::vector<float> values(gathered.size());
  backend_.download(values.data(), nll);
  for (size_t i = 0; i < rows.size(); ++i) losses[static_cast<size_t>(rows[i])] = values[i];
}

std::vector<float> Model::logits(std::span<const int32_t> ids, int64_t batch) {
  Gathering<Head> head;
  const Tensor residual = infer_layers(make_pass(ids, batch, 0), &head);
  const Tensor result = output_logits(head.take(), residual);
  std::vector<float> values(static_cast<size_t>(result.elements()));
  backend_.download(values.data(), result);
  return values;
}

}  // namespace ropesweep::llama
