// The weights that a pass works with, a part at a time, and its gradients' way back.
//
// Alone, a model keeps whole tensors and passes use them as they are. In a group (ZeRO stage 3,
// Rajbhandari et al. 2020; FSDP, Zhao et al. 2023) each rank keeps a shard of every tensor: the
// tensor's elements, padded with zeros to n equal parts, of which rank r has the r-th. Masters,
// moments and gradients are kept alike. A part's whole weights are gathered while a pass computes
// the part before it, and dropped when it has been computed; a part's gradients are summed over the
// ranks while the pass goes on, each rank keeping its shard of the sums. So all ranks must make the
// same passes in the same order.
//
// A shard has its tensor's number of axes, [1, p] or [p], so that a matrix is still told from a
// norm.
#pragma once

#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "worker/backend/collective.h"
#include "worker/llama/checkpoint.h"

namespace ropesweep::llama {

/// What follows the last layer.
struct Head {
  backend::Tensor final_norm;       ///< [D]
  backend::Tensor output;           ///< [V, D]
  backend::Tensor final_norm_bias;  ///< [D], or empty
};

/// Operations of the group that one part of the weights needs.
using PendingParts = std::vector<std::unique_ptr<backend::Pending>>;

/// A part's whole weights on their way: a tensor, a Layer or a Head.
template <typename Part>
class Gathering {
 public:
  Gathering() = default;
  Gathering(Part whole, PendingParts pending)
      : whole_(std::move(whole)), pending_(std::move(pending)) {}
  /// Waits for the weights, which last as long as what is returned. Once.
  Part take() {
    for (const auto& operation : pending_) operation->wait();
    pending_.clear();
    return std::move(whole_);
  }

 private:
  Part whole_;
  PendingParts pending_;
};

/// Gradients on their way to what is kept of them.
class Summing {
 public:
  /// Waits for the sums over the ranks and adds them. What is dropped before is added to nothing.
  void finish();

 private:
  friend class WeightParts;
  backend::Backend* backend_ = nullptr;
  std::vector<backend::Tensor> kept_, sums_;
  std::unique_ptr<backend::Pending> pending_;
};

class WeightParts {
 public:
  /// `group` null, or of size 1: what is kept are whole tensors. Backend and group must outlive it.
  WeightParts(backend::Backend& backend, const Config& config, backend::Collective* group);

  bool sharded() const { return group_ != nullptr; }
  /// Null when not sharded.
  backend::Collective* group() const { return group_; }

  // --- whole weights of what is kept, which begin to be gathered ---------------------------------
  Gathering<backend::Tensor> embedding(const Weights& kept) const;
  Gathering<Layer> layer(const Weights& kept, size_t layer) const;
  Gathering<Head> head(const Weights& kept) const;
  /// All of them, on every rank. A tied output shares the embedding's storage.
  Weights whole(const Weights& kept) const;

  // --- gradients: f32 tensors that a pass adds to, and what it does with them afterwards ---------
  // Those that are empty in `kept` are not wanted, and stay so.
  backend::Tensor embedding_gradient(const Weights& kept) const;
  Layer layer_gradients(const Weights& kept, size_t layer) const;
  Head head_gradients(const Weights& kept) const;
  /// Begins kept += the sum over the ranks of what layer_gradients … gave, which nothing may touch
  /// from then on; does nothing when not sharded.
  [[nodiscard]] Summing reduce_embedding(const Weights& kept,
                                         const backend::Tensor& gradient) const;
  [[nodiscard]] Summing reduce_layer(const Weights& kept, size_t layer,
                                     const Layer& gradients) const;
  [[nodiscard]] Summing reduce_head(const Weights& kept, const Head& gradients) const;

  // --- a table of positions, where there is one
  // ---------------------------------------------------
  backend::Tensor position_table(const Weights& kept) const;
  backend::Tensor position_table_gradient(const Weights& kept) const;
  [[nodiscard]] Summing reduce_position_table(const Weights& kept,
                                              const backend::Tensor& gradient) const;

  // --- one tensor --------------------------------------------------------------------------------
  /// What this rank keeps of a tensor: itself when not sharded, else a copy of its part.
  backend::Tensor shard_of(const backend::Tensor& whole) const;
  backend::Tensor whole_of(const backend::Tensor& kept, const backend::Shape& shape) const;
  /// Where in the whole tensor, in elements, what this rank keeps of it begins.
  int64_t first_element(const backend::Tensor& kept) const {
    return sharded() ? group_->rank() * kept.elements() : 0;
  }
  /// This rank's part of host values, padded.
  std::vector<float> shard_of(std::span<const float> whole) const;

  /// Shapes of the whole tensors in the order of named_tensors.
  std::vector<backend::Shape> shapes() const;

 private:
  backend::Tensor gradient_of(const backend::Tensor& kept, const backend::Shape& shape) const;
  /// Begins to gather kept tensors, in one message, into whole ones of these shapes.
  std::vector<backend::Tensor> gather(std::span<const backend::Tensor> kept,
                                      std::span<const backend::Shape> shapes,
                                      PendingParts& pending) const;
  Summing reduce(std::span<const backend::Tensor> kept,
                 std::span<const backend::Tensor> gradients) const;
  int64_t part_of(int64_t elements) const;

  backend::Backend& backend_;
  Config config_;
  backend::Collective* group_;
};

}  // namespace ropesweep::llama
