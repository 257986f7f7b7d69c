// Documents → chunks of token ids for fine-tuning, and the order in which a run takes them.
// Any position of a run can be asked for at any time, so a resumed run needs no state but its step.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "worker/data/corpus.h"
#include "worker/llama/tokenizer.h"

namespace ropesweep::data {

struct ChunkOptions {
  int64_t context_length = 0;  ///< tokens of a chunk, N ≥ 2
  bool prepend_bos = false;    ///< before each document
  bool append_eos = false;     ///< after each document
  bool packing = false;   ///< documents joined until a chunk is full; only the very last is padded
  int64_t documents = 0;  ///< at most this many documents are read; 0: all
};

/// All chunks of a data set. Ids are held in memory (4 bytes a token, up to 2^31 of them: 8 GiB).
class TrainingChunks {
 public:
  /// Reads `source` to its end and tokenizes without special tokens but those that `options` ask
  /// for. A rest of one token has no target and is left out. Errors: user error when no chunk
  /// results, when BOS or EOS is asked for and the tokenizer has none, or past 2^31 tokens; the
  /// source's own errors.
  TrainingChunks(DocumentSource& source, const llama::Tokenizer& tokenizer,
                 const ChunkOptions& options);

  int64_t count() const { return static_cast<int64_t>(chunks_.size()); }  ///< chunks in an epoch
  int64_t context_length() const { return context_length_; }
  int64_t documents() const { return documents_; }                      ///< documents read
  int64_t tokens() const { return static_cast<int64_t>(ids_.size()); }  ///< tokens in an epoch
  int64_t targets() const { return tokens() - count(); }  ///< predicted tokens in an epoch

  /// The chunk that a run takes at `position` (from 0): epoch position / count(), each epoch every
  /// chunk once in an order of its own that the seed gives. A batch of B chunks at step j (from 1)
  /// takes positions (j−1)·B … j·B−1. Fills ids and targets [N]; see `chunk`. Returns its count of
  /// targets.
  int64_t fill(int64_t position, uint64_t seed, std::span<int32_t> ids,
               std::span<int32_t> targets) const;

  /// Chunk `index` in the order of the documents: ids [N] padded with 0, targets [N] with
  /// targets[i] = ids[i+1] and −1 where there is none. Returns its count of targets.
  int64_t chunk(int64_t index, std::span<int32_t> ids, std::span<int32_t> targets) const;

  /// The chunk index at a position of the run.
  int64_t index_at(int64_t position, uint64_t seed) const;

 private:
  struct Piece {
    int64_t first;  ///< in ids_
    int64_t length;
  };
  void cut(int64_t first, int64_t end);

  int64_t context_length_ = 0;
  int64_t documents_ = 0;
  std::vector<int32_t> ids_;
  std::vector<Piece> chunks_;
};

}  // namespace ropesweep::data
