// AdamW over a model's weights, with f32 masters or by stochastic rounding; its state is saved and
// resumed to the bit.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

#include "experiments/settings.h"
#include "worker/backend/ops.h"
#include "worker/llama/checkpoint.h"
#include "worker/llama/optimizer_state.h"
#include "worker/llama/weight_parts.h"

namespace ropesweep::llama {

struct FileTensor;
class Lora;

/// The rate at `step` (from 1) of `steps`: warm-up min(1, step / warmup_steps), then constant, or
/// from the rate to zero at the last step over those after warm-up: linear, which is the factor
/// that transformers' get_linear_schedule_with_warmup has at `step` (there the first update is at
/// 0, and so without effect under warm-up), or half a cosine.
double learning_rate_at(const RecipeSettings& recipe, int64_t step);

class Optimizer {
 public:
  /// f32 weights are their own masters. Whether bf16 weights have f32 masters, which start as the
  /// weights, or are rounded up or down by chance (Backend::adamw), the first step's recipe decides
  /// for all; chance is drawn from `seed` and an element's place in the whole tensor. In a group
  /// `weights` are shards, `parts` says how they were made (and must outlive this), and step, save
  /// and load are called by all ranks: norms are of all shards, files hold whole tensors whatever
  /// the number of ranks. `host`: a backend of the host's memory that keeps masters and moments and
  /// steps them, where the device's memory is needed for other things; it must outlive the
  /// optimizer (not in a group, whose ranks keep a share each: std::invalid_argument).
  Optimizer(backend::Backend& backend, const Weights& weights, const WeightParts* parts = nullptr,
            backend::Backend* host = nullptr, uint64_t seed = 0);

  /// Over the adapters of frozen weights, f32, which begin to be trained. Every rank of `group`
  /// (or null) has them whole: gradients are summed over the ranks before a step, and rank 0 writes
  /// what is saved. After a step, and when a state is loaded, the adapters are refreshed. All must
  /// outlive this.
  Optimizer(backend::Backend& backend, Lora& adapters, backend::Collective* group = nullptr,
            backend::Backend* host = nullptr);

  /// Gradient accumulators, f32, zero at first and after each step; none of frozen weights.
  const Weights& gradients() const { return gradients_; }

  /// Clips by the global norm, applies AdamW (decay on matrices only), zeroes the gradients.
  /// Returns the norm before clipping. Errors: std::invalid_argument when the recipe says otherwise
  /// about masters than the one before, or than the state loaded.
  double step(const RecipeSettings& recipe, int64_t step);

  int64_t steps_done() const { return steps_done_; }

  /// Masters (f32; without them the weights, bf16), moments (f32) and the step count as
  /// safetensors; written beside, synced, renamed. In a group rank 0 writes, and the others return
  /// when it has. Not before the first step.
  void save(const std::filesystem::path& file) const;
  /// What save() would write, on rank 0 of a group; the others get no tensors.
  OptimizerState copy() const;
  size_t state_bytes() const;  ///< of copy()
  /// Errors: user error naming the file when it does not fit these weights.
  void load(const std::filesystem::path& file);

 private:
  struct StateTensor;
  std::vector<StateTensor> state_to_save() const;
  static std::vector<SafetensorsWriter::Entry> entries_of(const std::vector<StateTensor>& tensors);
  bool writes() const { return members() == nullptr || members()->rank() == 0; }
  template <typename Take>
  void give(const std::vector<StateTensor>& tensors, const Take& take) const;
  void decide_on_masters(bool masters);
  /// With masters or without.
  std::vector<StateTensor> state(bool masters) const;
  /// The group that has shards of what is stepped.
  backend::Collective* group() const { return parts_ == nullptr ? nullptr : parts_->group(); }
  /// The group of all who step.
  backend::Collective* members() const { return adapters_ != nullptr ? replicas_ : group(); }
  /// Where masters and moments lie.
  backend::Backend& state_backend() const { return host_ != nullptr ? *host_ : backend_; }
  void step_on_host(const NamedTensor& weight, const backend::Tensor& master,
                    const NamedTensor& first, const NamedTensor& second,
                    const NamedTensor& gradient, const backend::AdamwStep& step);
  void upload_state(const StateTensor& tensor, const FileTensor& source);
  void weights_from_masters();

  backend::Backend& backend_;
  const WeightParts* parts_;
  backend::Backend* host_;  ///< null: the state is the device's
  uint64_t seed_;
  std::optional<bool> has_masters_;
  Lora* adapters_ = nullptr;
  backend::Collective* replicas_ = nullptr;  ///< who steps the same adapters
  Weights gradients_;
  // All alike: a tensor's place is the same in each.
  std::vector<NamedTensor> weights_, masters_, first_moments_, second_moments_, named_gradients_;
  int64_t steps_done_ = 0;
};

}  // namespace ropesweep::llama
