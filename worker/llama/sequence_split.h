// One long sequence over the ranks of a group: context parallelism as in Llama 3 (arXiv 2407.21783,
// section 3.3.2). The sequence is cut into 2n equal chunks, of which rank r has r and 2n − 1 − r:
// the early tokens of one chunk see few keys, the late ones of the other see many, so all ranks
// have the same number of query-key pairs. Keys and values of a layer are gathered before its
// attention; their gradients are summed over the ranks after it.
//
// Letters: n ranks · T tokens · C = ⌈T / 2n⌉ tokens of a chunk; the last chunks are padded
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "worker/backend/collective.h"

namespace ropesweep::llama {

class SequenceSplit {
 public:
  /// A chunk of this rank.
  struct Chunk {
    int64_t row = 0;       ///< of its first token among the rank's 2C
    int64_t position = 0;  ///< of its first token in the sequence
    int64_t tokens = 0;    ///< C
  };

  /// Backend and group must outlive it.
  SequenceSplit(backend::Backend& backend, backend::Collective& group, int64_t tokens);

  int64_t tokens() const { return tokens_; }
  int64_t padded() const { return 2 * group_.size() * chunk_; }  ///< 2nC ≥ T
  std::array<Chunk, 2> chunks() const;

  /// This rank's 2C of T values; `padding` past the end.
  std::vector<int32_t> own(std::span<const int32_t> whole, int32_t padding) const;
  /// The T values of which each rank has its 2C.
  std::vector<float> whole(std::span<const float> own) const;

  /// [2nC, …] in the order of positions, of each rank's [2C, …].
  backend::Tensor gather(const backend::Tensor& own) const;
  /// This rank's [2C, …] of the sum over the ranks of [2nC, …], f32.
  backend::Tensor reduce(const backend::Tensor& whole) const;

 private:
  template <typename Visit>
  void each_chunk(Visit&& visit) const;

  backend::Backend& backend_;
  backend::Collective& group_;
  int64_t tokens_, chunk_;
};

}  // namespace ropesweep::llama
