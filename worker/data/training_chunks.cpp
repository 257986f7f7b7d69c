// Cutting documents into chunks, and the seeded order of each epoch.
#include "worker/data/training_chunks.h"

#include <algorithm>
#include <stdexcept>

#include "experiments/error.h"
#include "worker/data/random.h"

namespace ropesweep::data {
namespace {

constexpr int64_t most_tokens = int64_t{1} << 31;

int32_t needed_id(bool wanted, int32_t id, const char* name) {
  if (wanted && id < 0) {
    throw_user_error("training data: {} is asked for, but tokenizer_config.json names none", name);
  }
  return id;
}

}  // namespace

TrainingChunks::TrainingChunks(DocumentSource& source, const llama::Tokenizer& tokenizer,
                               const ChunkOptions& options)
    : context_length_(options.context_length) {
  if (context_length_ < 2) throw_user_error("training data: the context length must be 2 at least");
  const int32_t bos = needed_id(options.prepend_bos, tokenizer.bos_id(), "a BOS token");
  const int32_t eos = needed_id(options.append_eos, tokenizer.eos_id(), "an EOS token");
  Document document;
  while ((options.documents == 0 || documents_ < options.documents) && source.next(document)) {
    const auto first = static_cast<int64_t>(ids_.size());
    const std::vector<int32_t> ids = tokenizer.encode(document.text, false);
    if (options.prepend_bos) ids_.push_back(bos);
    ids_.insert(ids_.end(), ids.begin(), ids.end());
    if (options.append_eos) ids_.push_back(eos);
    ++documents_;
    if (static_cast<int64_t>(ids_.size()) > most_tokens) {
      throw_user_error(
          "training data: more than {} tokens, which is all that memory is planned for",
          most_tokens);
    }
    if (!options.packing) cut(first, static_cast<int64_t>(ids_.size()));
  }
  if (options.packing) cut(0, static_cast<int64_t>(ids_.size()));
  if (chunks_.empty()) {
    throw_user_error("training data: {} documents hold no two tokens in a row to learn from",
                     documents_);
  }
}

void TrainingChunks::cut(int64_t first, int64_t end) {
  while (first < end) {
    const int64_t length = std::min(context_length_, end - first);
    if (length < 2) {
      ids_.pop_back();  // a single token has no target; `end` is the end of all ids so far
      return;
    }
    chunks_.push_back({first, length});
    first += length;
  }
}

int64_t TrainingChunks::index_at(int64_t position, uint64_t seed) const {
  const int64_t epoch = position / count();
  const uint64_t key = Random(seed, "chunk order", epoch).next();
  return permuted(position % count(), count(), key);
}

int64_t TrainingChunks::fill(int64_t position, uint64_t seed, std::span<int32_t> ids,
                             std::span<int32_t> targets) const {
  return chunk(index_at(position, seed), ids, targets);
}

int64_t TrainingChunks::chunk(int64_t index, std::span<int32_t> ids,
                              std::span<int32_t> targets) const {
  const auto size = static_cast<size_t>(context_length_);
  if (ids.size() != size || targets.size() != size) {
    throw std::invalid_argument("ids and targets must hold one context length");
  }
  const Piece piece = chunks_.at(static_cast<size_t>(index));
  const auto first = ids_.begin() + piece.first;
  std::fill(std::copy(first, first + piece.length, ids.begin()), ids.end(), 0);
  std::fill(std::copy(first + 1, first + piece.length, targets.begin()), targets.end(), -1);
  return piece.length - 1;
}

}  // namespace ropesweep::data
