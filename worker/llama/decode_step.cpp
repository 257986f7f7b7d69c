// Recorded passes: one token of a sequence, or of several at once.
//
// A token's pass launches hundreds of small kernels, and on a GPU these launches are most of its
// time where the model is small. So the pass of one token is recorded, once for a cache or a set of
// caches: what changes from token to token, the ids and the caches' lengths, lies on the device and
// is read there; the pass rotates by rows gathered from the tables, scatters keys and values into
// the caches, and attends over as many of a cache's rows as there are. The bits are those of the
// pass that is not recorded. Schemes that depend on the length, or have a rule, rotate every key
// anew and stay with the latter; so do groups, whose ranks talk to each other within a pass.
//
// Letters: N sequences · as in forward.cpp
#include <algorithm>
#include <stdexcept>

#include "worker/llama/activations.h"

namespace ropesweep::llama {

using backend::Dtype;
using backend::Tensor;

/// The recorded pass of a token of each sequence, and the tensors that it reads and writes.
struct DecodeStep {
  // What it was recorded for. All are kept, so that nothing else can have their addresses.
  const Model* model;
  Tensor embedding;
  std::shared_ptr<const PositionEncoding> positions;
  std::shared_ptr<const Lora> adapters;

  std::vector<KvCache> caches;  ///< the storage alone
  RopeCache::Tables rope;       ///< of all positions that the caches have room for
  Tensor tokens;                ///< i32 [2·N]: their ids, then the tokens before each
  Tensor next;                  ///< i32 [N]: the likeliest id after each
  std::unique_ptr<backend::Recording> recording;

  int64_t count() const { return static_cast<int64_t>(caches.size()); }
};

bool Model::can_record() const { return !keys_stay_unrotated() && !parts_.sharded(); }

/// Whether `step` is of this model, as it is now, and these caches.
bool Model::is_recorded(const DecodeStep* step, std::span<KvCache* const> caches) const {
  return step != nullptr && step->model == this && step->positions == positions_ &&
         step->adapters == lora_ && step->embedding.raw() == weights_.embedding.raw() &&
         std::equal(caches.begin(), caches.end(), step->caches.begin(), step->caches.end(),
                    [](const KvCache* own, const KvCache& recorded) {
                      return own->keys[0].raw() == recorded.keys[0].raw();
                    });
}

std::shared_ptr<DecodeStep> Model::make_step(std::span<KvCache* const> caches) {
  const auto count = static_cast<int64_t>(caches.size());
  int64_t room = 0;
  std::vector<KvCache> storage;
  for (const KvCache* cache : caches) {
    room = std::max(room, cache->capacity);
    storage.push_back(*cache);
    storage.back().step.reset();
  }
  return std::make_shared<DecodeStep>(
      DecodeStep{.model = this,
                 .embedding = weights_.embedding,
                 .positions = positions_,
                 .adapters = lora_,
                 .caches = std::move(storage),
                 .rope = rope_cache_.tables(backend_, *positions_, room, room),
                 .tokens = backend_.allocate(Dtype::i32, {2 * count}),
                 .next = backend_.allocate(Dtype::i32, {count}),
                 .recording = nullptr});
}

/// What is recorded: the tokens' pass, to the likeliest id after each.
void Model::run_step(const DecodeStep& step) {
  const int64_t count = step.count();
  Pass pass;
  pass.batch = count;
  pass.tokens = 1;
  pass.row_each = true;
  pass.ids = step.tokens.rows(0, count);
  pass.recorded_past = step.tokens.rows(count, count);
  pass.recorded_caches = step.caches;
  pass.rope = tables_at(step.rope, pass.recorded_past);
  Gathering<Head> head;
  const Tensor residual = infer_layers(pass, &head);
  const Tensor logits = output_logits(head.take(), residual);
  for (int64_t i = 0; i < count; ++i) backend_.argmax(step.next.rows(i, 1), logits.rows(i, 1));
}

/// One token of each sequence, by the recording of these caches; the first of them keeps it.
std::vector<int32_t> Model::step_recorded(std::span<KvCache* const> caches,
                                          std::span<const int32_t> ids) {
  if (!is_recorded(caches[0]->step.get(), caches)) caches[0]->step = make_step(caches);
  DecodeStep& step = *caches[0]->step;
  std::vector<int32_t> tokens(ids.begin(), ids.end());
  for (const KvCache* cache : caches) tokens.push_back(static_cast<int32_t>(cache->length));
  backend_.upload(step.tokens, tokens.data());
  if (step.recording) {
    step.recording->replay();
  } else {
    step.recording = backend_.record([this, &step] { run_step(step); });
  }
  std::vector<int32_t> next(ids.size());
  backend_.download(next.data(), step.next);
  for (KvCache* cache : caches) ++cache->length;
  return next;
}

/// The new tokens' keys and values into the caches, and each one's attention over all that are in
/// its own.
void Model::attend_recorded(size_t layer, const Pass& pass, AttentionActivations& a) {
  rotate(a.key, pass.rope.key, pass);
  const int64_t width = config_.kv_heads * config_.head_dim;
  a.attended = backend_.allocate(type_, a.query.shape());
  a.lse = new_f32({pass.batch, config_.heads, 1});
  for (int64_t i = 0; i < pass.batch; ++i) {
    const KvCache& cache = pass.recorded_caches[static_cast<size_t>(i)];
    const Tensor past = pass.recorded_past.rows(i, 1);
    const Tensor &keys = cache.keys[layer], &values = cache.values[layer];
    const backend::Shape flat = {cache.capacity, width};
    backend_.scatter(keys.reshape(flat), a.key.rows(i, 1).reshape({1, width}), past);
    backend_.scatter(values.reshape(flat), a.value.rows(i, 1).reshape({1, width}), past);
    backend::AttentionShape shape = attention_shape(layer, 1, 1, cache.capacity);
    shape.past = past;
    backend_.attention(a.attended.rows(i, 1), a.lse.rows(i, 1), a.query.rows(i, 1), keys, values,
                       shape);
  }
}

}  // namespace ropesweep::llama
