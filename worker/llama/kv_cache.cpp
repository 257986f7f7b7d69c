// The cache's storage, all of it at once: a sequence that fits at first fits to its end.
#include "worker/llama/kv_cache.h"

namespace ropesweep::llama {

KvCache::KvCache(backend::Backend& backend, const Config& config, backend::Dtype type,
                 int64_t room) {
  capacity = room;
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    keys.push_back(backend.allocate(type, {room, config.kv_heads, config.head_dim}));
    values.push_back(backend.allocate(type, {room, config.kv_heads, config.head_dim}));
  }
}

}  // namespace ropesweep::llama
