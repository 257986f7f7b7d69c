// Counts of bytes; letters and conventions in memory_plan.h.
#include "experiments/memory_plan.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>

namespace ropesweep {
namespace {

constexpr double kF32 = 4;
/// Tokens of a micro-batch: enough to fill the products.
constexpr int64_t kMicroBatchTokens = 4096;
/// Rows of logits in training: as many as fit into these bytes of f32, at most kHeadRows.
constexpr double kHeadBytes = 256 << 20, kHeadRows = 1024;
/// A little is left for the runtime, its workspaces and what rounding of blocks costs.
constexpr double kUsable = 0.96;

double real(int64_t value) { return static_cast<double>(value); }

double bytes_of(const std::string& type) { return type == "f32" ? kF32 : 2; }

/// Parameters that get gradients: all, or those of rank-r pairs on every matrix of a layer.
double trained_parameters(const ModelGeometry& g, const RecipeSettings& recipe) {
  if (recipe.lora.rank == 0) return g.parameters();
  const double width = real(g.width), hidden = real(g.hidden);
  const double queries = real(g.heads * g.head_dim), keys = real(g.kv_heads * g.head_dim);
  const double sides = 2 * (width + queries) + 2 * (width + keys) + 3 * (width + hidden);
  return real(g.layers) * real(recipe.lora.rank) * sides;
}

}  // namespace

const char* name_of(Recompute recompute) {
  switch (recompute) {
    case Recompute::none:
      return "nothing recomputed";
    case Recompute::all_but_attention:
      return "all but attention recomputed";
    case Recompute::layer:
      return "layers recomputed";
  }
  return "";
}

std::string MemoryPlan::text() const {
  constexpr double gigabyte = 1e9;
  return fmt::format(
      "{:.1f} GB (weights {:.1f}, gradients {:.1f}, optimizer {:.1f}{}, activations {:.1f}; {})",
      device_bytes() / gigabyte, weights / gigabyte, gradients / gigabyte, optimizer / gigabyte,
      optimizer_on_host ? " on the host" : "", activations / gigabyte, name_of(recompute));
}

int64_t micro_batch_chunks(const RecipeSettings& recipe) {
  const int64_t length = std::max<int64_t>(recipe.context_length, 1);
  return std::clamp<int64_t>(kMicroBatchTokens / length, 1,
                             std::max<int64_t>(1, recipe.batch_tokens / length));
}

double activation_bytes(const ModelGeometry& g, int64_t chunks, int64_t tokens,
                        const std::string& type, Recompute recompute) {
  const double rows = real(chunks * tokens), element = bytes_of(type);
  const double width = real(g.width), hidden = real(g.hidden), layers = real(g.layers);
  const double queries = real(g.heads * g.head_dim), keys = real(g.kv_heads * g.head_dim);
  // By row. Statistics (rstd twice, lse) are f32.
  const double lse = kF32 * real(g.heads), statistics = 2 * kF32 + lse;
  const double attention = element * (2 * width + 2 * queries + 2 * keys);
  const double mlp = element * (2 * width + 3 * hidden);
  const double layer = attention + mlp + statistics;
  double kept = layers * layer;
  if (recompute != Recompute::none) kept = layers * element * width + layer;
  if (recompute == Recompute::all_but_attention) kept += layers * (element * queries + lse);
  // Gradients of one block, the residual and its gradient.
  const double passing = element * (4 * width + 2 * queries + 2 * keys);
  const double head_row =
      real(g.vocabulary) * (type == "f32" ? kF32 : kF32 + element) + 2 * element * width;
  const double head_rows =
      std::min(rows, std::clamp(kHeadBytes / (kF32 * real(g.vocabulary)), 32.0, kHeadRows));
  return rows * (kept + passing) + head_rows * head_row;
}

MemoryPlan plan_memory(const ModelGeometry& geometry, const RecipeSettings& recipe,
                       const std::string& type, double device_bytes, bool host_optimizer) {
  const double trained = trained_parameters(geometry, recipe);
  MemoryPlan plan;
  plan.weights = geometry.parameters() * bytes_of(type);
  plan.gradients = trained * kF32;
  // Two moments, and masters where the weights are not f32 themselves.
  plan.optimizer = trained * kF32 * (type == "f32" || !recipe.master_weights ? 2 : 3);
  const int64_t chunks = micro_batch_chunks(recipe);
  for (const bool on_host : {false, true}) {
    if (on_host && !host_optimizer) break;
    for (const Recompute recompute :
         {Recompute::none, Recompute::all_but_attention, Recompute::layer}) {
      plan.optimizer_on_host = on_host;
      plan.recompute = recompute;
      plan.activations = activation_bytes(geometry, chunks, recipe.context_length, type, recompute);
      if (device_bytes <= 0 || plan.device_bytes() <= kUsable * device_bytes) return plan;
    }
  }
  return plan;
}

}  // namespace ropesweep
