// Llama and its relatives: forward, backward, decoding; written once over the ops of a backend.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "experiments/memory_plan.h"
#include "experiments/position_encoding.h"
#include "worker/backend/ops.h"
#include "worker/llama/checkpoint.h"
#include "worker/llama/config.h"
#include "worker/llama/kv_cache.h"
#include "worker/llama/rope_cache.h"
#include "worker/llama/rule_tables.h"
#include "worker/llama/sequence_split.h"
#include "worker/llama/weight_parts.h"

namespace ropesweep::llama {

class Lora;
struct DroppedRows;

/// Of a layer, means over tokens.
struct MeanHeads {
  std::vector<float> query, key;  ///< [H·K], [G·K]
};

/// What may follow a prompt: as many targets as ids, where a target < 0 is masked and gives 0.
struct Branch {
  std::vector<int32_t> ids, targets;
};

class Model {
 public:
  /// Takes shared ownership of nothing but `weights`' storages; `backend` must outlive the model.
  /// The positions are the checkpoint's own until use_positions. `group`: `weights` are this rank's
  /// shards (WeightParts); then all ranks make the same calls in the same order, each with its own
  /// sequences, and gradients are sums over the ranks.
  Model(backend::Backend& backend, Config config, Weights weights,
        backend::Collective* group = nullptr);

  /// The positions of all that follows. Their head dimension must be the config's.
  void use_positions(std::shared_ptr<const PositionEncoding> positions);
  const PositionEncoding& positions() const { return *positions_; }
  std::shared_ptr<const PositionEncoding> shared_positions() const { return positions_; }

  /// From now on token_losses and accumulate_gradients take one sequence (B = 1), the same on all
  /// ranks of `group`, and each computes its part of the tokens (SequenceSplit): losses are those
  /// of all tokens, on every rank; Σ nll and the gradients are of the rank's own. Null, or a group
  /// of 1: each call's tokens are the caller's alone. The weights may be shared among more ranks.
  void split_sequences(backend::Collective* group);

  /// From now on the layers' matrices work with their adapters (lora.h), of the model's type; the
  /// weights are frozen: accumulate_gradients adds to the adapters' gradients alone, and drops what
  /// they say. Null: none.
  void use_adapters(std::shared_ptr<Lora> adapters);

  const Config& config() const { return config_; }
  /// Whole, or this rank's shards.
  const Weights& weights() const { return weights_; }
  const WeightParts& parts() const { return parts_; }
  backend::Backend& backend() { return backend_; }

  /// Natural-log loss of each target: ids, targets [B·T]; a target < 0 is masked and gives 0.
  /// The current length of dynamic schemes is T. Logits exist for a chunk of rows at a time only.
  std::vector<float> token_losses(std::span<const int32_t> ids, std::span<const int32_t> targets,
                                  int64_t batch);

  /// Positions [B·T] of the next accumulate_gradients, in place of each sequence's 0, 1, 2, …;
  /// none: those. They need not be whole. Errors: std::invalid_argument under schemes that do more
  /// than rotate.
  void train_at(std::vector<double> positions) { training_positions_ = std::move(positions); }

  /// Tokens of each document of the next accumulate_gradients or token_losses, one after the other
  /// over all sequences: each then sees itself alone, from position 0 on. None: a sequence is one.
  /// That call's errors: std::invalid_argument when they don't end where sequences do; user error
  /// under schemes that depend on the length or do more than rotate, and where a sequence is split.
  void separate_documents(std::vector<int64_t> tokens) { documents_ = std::move(tokens); }

  /// Forward and backward: adds d(loss_scale · Σ nll)/dw to `gradients` (f32, kept as the weights
  /// are; not looked at with adapters); returns Σ nll of the calling rank.
  double accumulate_gradients(std::span<const int32_t> ids, std::span<const int32_t> targets,
                              int64_t batch, double loss_scale, const Weights& gradients,
                              Recompute recompute);

  /// Feeds `ids` after what the cache holds and returns the logits [V] of the last one, in f32.
  /// Keys are cached unrotated when the positions depend on the length.
  std::vector<float> extend(KvCache& cache, std::span<const int32_t> ids);
  /// The same, and only the likeliest id, the first on a tie: the logits stay on the device. One id
  /// after the other is fed by a recorded pass (Backend::record), with the same bits.
  int32_t extend_greedily(KvCache& cache, std::span<const int32_t> ids);
  /// The same of several sequences, at most backend::kFewRows: ids[i] after what caches[i] holds,
  /// and the likeliest id after each. The weights are read once for all; each has the bits that it
  /// has alone.
  std::vector<int32_t> extend_greedily(std::span<KvCache* const> caches,
                                       std::span<const int32_t> ids);

  /// Of a sequence of `length` tokens, the first `common` of which a cache holds as another's: how
  /// many of them it may take over (KvCache::fork, or truncate), so that after the others have been
  /// fed in pieces (prefill_piece) all is as if it had been fed from its beginning, to the bit. 0
  /// where the first tokens depend on the length.
  int64_t forkable_tokens(int64_t common, int64_t length) const;
  /// How many tokens to feed next to a sequence of `length` of which `fed` are in the cache: a
  /// piece, so that activations don't grow with it, or all where the positions ask for that.
  int64_t prefill_piece(int64_t fed, int64_t length) const;

  /// By layer, the means over one sequence's tokens of the queries and of the keys as the products
  /// (with their biases) give them, before any rotation. The pass itself is under the positions.
  std::vector<MeanHeads> mean_heads(std::span<const int32_t> ids);

  /// Feeds `prompt` after what the cache holds, and in the same pass each of `branches` after that:
  /// the loss of each branch's targets. The cache then holds the prompt and none of the branches.
  /// Losses and keys have the bits of token_losses over prompt and branch. A long prompt's
  /// first pieces (prefill_piece) are fed before, by extend. Needs static positions
  /// (can_branch) and a prompt of at least `least_branched` new tokens.
  std::vector<std::vector<float>> branch_losses(KvCache& cache, std::span<const int32_t> prompt,
                                                std::span<const Branch> branches);
  /// Shorter passes sum in another order (ops.h, kFewRows).
  static constexpr int64_t least_branched = backend::kFewRows + 1;
  bool can_branch() const { return !keys_stay_unrotated(); }

  /// All logits [B·T, V] in f32, for tests and small inputs only.
  std::vector<float> logits(std::span<const int32_t> ids, int64_t batch);

 private:
  struct Pass;  // what one run through the layers is about (activations.h)
  struct AttentionActivations;
  struct MlpActivations;
  struct LayerActivations;
  struct RuleOperands;
  struct RuleCall;
  struct HeadSums;

  // forward.cpp: what runs in every direction
  Pass make_pass(std::span<const int32_t> ids, int64_t batch, int64_t length);
  Pass make_scoring_pass(std::span<const int32_t> ids, int64_t batch);
  void rotate(const backend::Tensor& x, const backend::RopeTensors& table, const Pass& pass);
  RopeCache::Tables tables_at(const RopeCache::Tables& tables, const backend::Tensor& positions);
  void rotate_backward(const backend::Tensor& d_x, const backend::RopeTensors& table,
                       const Pass& pass);
  backend::AttentionShape attention_shape(size_t layer, int64_t batch, int64_t queries,
                                          int64_t keys) const;
  backend::Tensor embed(const Pass& pass, const backend::Tensor& table);
  void gather_after(size_t layer, Gathering<Layer>& next, Gathering<Head>* head) const;
  backend::Tensor attention_block(const Layer& w, size_t layer, const Pass& pass,
                                  const backend::Tensor& residual, AttentionActivations& a);
  void attend(const Layer& w, size_t layer, const Pass& pass, AttentionActivations& a);
  void attend_projected(size_t layer, const Pass& pass, AttentionActivations& a);
  backend::Tensor mlp_block(const Layer& w, size_t layer, const Pass& pass,
                            const backend::Tensor& input, const backend::Tensor& residual,
                            MlpActivations& a);
  bool parallel_residual() const { return config_.family.parallel_residual; }
  backend::Tensor infer_layers(const Pass& pass, Gathering<Head>* head);
  std::vector<float> score(const Head& head, const backend::Tensor& residual,
                           std::span<const int32_t> targets);
  void score_rows(const Head& head, const backend::Tensor& residual, std::span<const int32_t> rows,
                  std::span<const int32_t> targets, std::span<float> losses);
  backend::Tensor output_logits(const Head& head, const backend::Tensor& residual);
  int64_t head_rows(int64_t budget) const;

  // mean_heads.cpp
  void add_to_sums(const std::vector<backend::Tensor>& sums, size_t layer,
                   const backend::Tensor& rows);

  // decode.cpp
  void check_room(KvCache& cache, std::span<const int32_t> ids) const;
  backend::Tensor last_logits(KvCache& cache, std::span<const int32_t> ids);
  Pass make_members(std::span<KvCache* const> caches, std::span<const int32_t> ids);
  void attend_members(size_t layer, const Pass& pass, AttentionActivations& a);

  // decode_step.cpp: recorded passes
  bool can_record() const;
  bool is_recorded(const DecodeStep* step, std::span<KvCache* const> caches) const;
  std::shared_ptr<DecodeStep> make_step(std::span<KvCache* const> caches);
  void run_step(const DecodeStep& step);
  std::vector<int32_t> step_recorded(std::span<KvCache* const> caches,
                                     std::span<const int32_t> ids);
  void attend_recorded(size_t layer, const Pass& pass, AttentionActivations& a);

  // branches.cpp
  Pass make_branched_pass(KvCache& cache, std::span<const int32_t> prompt,
                          std::span<const Branch> branches);
  void attend_branches(size_t layer, const Pass& pass, AttentionActivations& a);

  // attend_by_rule.cpp: schemes that do more than rotate (experiments/attention_rule.h)
  void follow_rule();
  bool keys_stay_unrotated() const { return positions_->depends_on_length() || rule_ != nullptr; }
  void prepare_positions(Pass& pass, int64_t length);
  void prepare_training_positions(Pass& pass);
  void add_positions(const Pass& pass, const backend::Tensor& residual);
  void positions_backward(const Pass& pass, const backend::Tensor& d_residual,
                          const Weights& gradients);
  RuleOperands rule_operands(const Pass& pass, const AttentionActivations& a, size_t layer);
  RuleCall rule_call(const RuleOperands& x, const RuleBlock& block, size_t part);
  void attend_by_rule(size_t layer, const Pass& pass, AttentionActivations& a);
  void attend_by_rule_backward(size_t layer, const Pass& pass, const AttentionActivations& a,
                               const backend::Tensor& d_attended, const backend::Tensor& d_query,
                               const backend::Tensor& d_key, const backend::Tensor& d_value);
  backend::Tensor rotated_by_rule(const backend::Tensor& x, const backend::RopeTensors& table,
                                  int64_t position, int64_t tokens) const;
  void unrotate_by_rule(const backend::Tensor& d_x, const backend::RopeTensors& table,
                        int64_t position, int64_t tokens) const;

  // backward.cpp
  double head_backward(const Pass& pass, const Head& head, const backend::Tensor& residual,
                       std::span<const int32_t> targets, double loss_scale, const Head& gradients,
                       const backend::Tensor& d_residual);
  void mlp_backward(const Layer& w, size_t layer, const Pass& pass,
                    const backend::Tensor& d_residual, MlpActivations& a, const Layer& gradients);
  void attention_backward(const Layer& w, size_t layer, const Pass& pass,
                          const backend::Tensor& d_after, const backend::Tensor& d_residual,
                          AttentionActivations& a, const Layer& gradients);

  // family_blocks.cpp
  backend::Tensor norm(const backend::Tensor& out, const backend::Tensor& residual,
                       const backend::Tensor& weight, const backend::Tensor& bias);
  void norm_backward(const backend::Tensor& d_residual, const backend::Tensor& d_weight,
                     const backend::Tensor& d_bias, const backend::Tensor& d_out,
                     const backend::Tensor& residual, const backend::Tensor& statistics,
                     const backend::Tensor& weight);
  bool set_bias(const backend::Tensor& x, const backend::Tensor& bias);
  void add_bias(const backend::Tensor& x, const backend::Tensor& bias);
  void add_bias_backward(const backend::Tensor& d_bias, const backend::Tensor& d_out);
  backend::Tensor plain_mlp(const Layer& w, size_t layer, const Pass& pass,
                            const backend::Tensor& residual, MlpActivations& a);
  void plain_mlp_backward(const Layer& w, size_t layer, const Pass& pass,
                          const backend::Tensor& d_residual, MlpActivations& a,
                          const Layer& gradients);

  // lora.cpp: products with a layer's matrices
  void project(const backend::Tensor& out, const backend::Tensor& x, const Layer& w,
               backend::Tensor Layer::*field, size_t layer, const Pass& pass, bool accumulate);
  void project_backward(const backend::Tensor& d_x, const backend::Tensor& d_out,
                        const backend::Tensor& x, const Layer& w, const Layer& gradients,
                        backend::Tensor Layer::*field, size_t layer, const Pass& pass,
                        bool accumulate);
  std::vector<DroppedRows> dropped_rows(const Pass& pass) const;
  Weights wanted_gradients(const Weights& gradients) const;

  // separate_documents.cpp
  void prepare_documents(Pass& pass);
  void attend_documents(size_t layer, const Pass& pass, AttentionActivations& a);
  void attend_documents_backward(size_t layer, const Pass& pass, const AttentionActivations& a,
                                 const backend::Tensor& d_attended, const backend::Tensor& d_query,
                                 const backend::Tensor& d_key, const backend::Tensor& d_value);

  // sequence_split.cpp
  void attend_split(size_t layer, const SequenceSplit& split, AttentionActivations& a);
  void attend_split_backward(size_t layer, const SequenceSplit& split,
                             const AttentionActivations& a, const backend::Tensor& d_attended,
                             const backend::Tensor& d_query, const backend::Tensor& d_key,
                             const backend::Tensor& d_value);

  backend::Tensor new_rows(int64_t rows, int64_t columns);  // of the model's type
  backend::Tensor new_f32(backend::Shape shape);
  backend::Tensor upload_ids(std::span<const int32_t> ids);
  void check_ids(std::span<const int32_t> ids, const char* what) const;

  backend::Backend& backend_;
  Config config_;
  Weights weights_;
  WeightParts parts_;
  backend::Collective* sequence_group_ = nullptr;
  std::shared_ptr<Lora> lora_;
  std::shared_ptr<const PositionEncoding> positions_;
  RopeCache rope_cache_;
  std::vector<double> training_positions_;
  std::vector<int64_t> documents_;
  const AttentionRule* rule_ = nullptr;  ///< of positions_, unless it is plain
  RuleTables rule_tables_;
  backend::Dtype type_ = backend::Dtype::f32;  // of weights and activations
};

}  // namespace ropesweep::llama
