// The Llama: forward, backward, decoding; written once over the ops of a backend.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "experiments/position_encoding.h"
#include "worker/backend/ops.h"
#include "worker/llama/checkpoint.h"
#include "worker/llama/config.h"
#include "worker/llama/kv_cache.h"

namespace ropesweep::llama {

enum class Recompute { none, layer };

class Model {
 public:
  /// Takes shared ownership of nothing but `weights`' storages; `backend` must outlive the model.
  Model(backend::Backend& backend, Config config, Weights weights);

  /// The positions of all that follows. Their head dimension must be the config's.
  void use_positions(std::shared_ptr<const PositionEncoding> positions);
  const PositionEncoding& positions() const { return *positions_; }

  const Config& config() const { return config_; }
  const Weights& weights() const { return weights_; }
  backend::Backend& backend() { return backend_; }

  /// Natural-log loss of each target: ids, targets [B·T]; a target < 0 is masked and gives 0.
  /// The current length of dynamic schemes is T. Logits exist for a chunk of rows at a time only.
  std::vector<float> token_losses(std::span<const int32_t> ids, std::span<const int32_t> targets,
                                  int64_t batch);

  /// Forward and backward: adds d(loss_scale · Σ nll)/dw to `gradients` (f32); returns Σ nll.
  double accumulate_gradients(std::span<const int32_t> ids, std::span<const int32_t> targets,
                              int64_t batch, double loss_scale, const Weights& gradients,
                              Recompute recompute);

  /// Feeds `ids` after what the cache holds and returns the logits [V] of the last one, in f32.
  /// Keys are cached unrotated when the positions depend on the length.
  std::vector<float> extend(KvCache& cache, std::span<const int32_t> ids);

  /// All logits [B·T, V] in f32, for tests and small inputs only.
  std::vector<float> logits(std::span<const int32_t> ids, int64_t batch);

  /// Bytes of activations that accumulate_gradients holds at its peak for [B, T].
  size_t activation_bytes(int64_t batch, int64_t tokens, Recompute recompute) const;

 private:
  struct Activations;

  backend::Backend& backend_;
  Config config_;
  Weights weights_;
  std::shared_ptr<const PositionEncoding> positions_;
};

}  // namespace ropesweep::llama
