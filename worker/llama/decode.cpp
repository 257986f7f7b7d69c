// Decoding: new tokens after what a cache holds, many at once (prefill) or one by one.
#include <algorithm>
#include <stdexcept>

#include "worker/llama/activations.h"

namespace ropesweep::llama {
namespace {

// A long prompt passes through the layers in chunks, so that its activations stay small.
constexpr int64_t prefill_rows = 2048;

}  // namespace

/// Feeds `ids`; f32 [1, V] of the last one.
backend::Tensor Model::last_logits(KvCache& cache, std::span<const int32_t> ids) {
  const auto count = static_cast<int64_t>(ids.size());
  const int64_t length = cache.length + count;
  if (ids.empty() || length > cache.capacity) {
    throw std::invalid_argument("Model::extend: no tokens, or more than the cache has room for");
  }
  const bool dynamic = positions_->depends_on_length();
  if (cache.length == 0) cache.rotated = !dynamic;
  if (cache.rotated == dynamic) {
    throw std::invalid_argument("Model::extend: the cache was filled under other positions");
  }
  backend::Tensor residual;
  Gathering<Head> head;
  for (int64_t first = 0; first < count; first += prefill_rows) {
    const int64_t rows = std::min(prefill_rows, count - first);
    // The current length is that after the last token, for the whole prompt.
    Pass pass =
        make_pass(ids.subspan(static_cast<size_t>(first), static_cast<size_t>(rows)), 1, length);
    pass.cache = &cache;
    residual = infer_layers(pass, first + rows == count ? &head : nullptr);
    cache.length += rows;
  }
  return output_logits(head.take(), residual.rows(residual.dim(0) - 1, 1));
}

std::vector<float> Model::extend(KvCache& cache, std::span<const int32_t> ids) {
  const backend::Tensor row = last_logits(cache, ids);
  std::vector<float> logits(static_cast<size_t>(row.elements()));
  backend_.download(logits.data(), row);
  return logits;
}

int32_t Model::extend_greedily(KvCache& cache, std::span<const int32_t> ids) {
  return static_cast<int32_t>(backend_.argmax(last_logits(cache, ids)));
}

}  // namespace ropesweep::llama
