// The merges of a BPE model over ids. Sennrich et al. 2016, algorithm 1: of all pairs of neighbours
// the one of least rank is joined, the leftmost of equals, until none is left.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "worker/llama/json_place.h"

namespace ropesweep::llama {

/// Token texts as the file writes them → ids.
using Vocabulary = std::unordered_map<std::string, int32_t>;

/// One merge's two texts, from "a b" or ["a", "b"]. Errors: user error naming file and field.
std::pair<std::string, std::string> merge_texts(const JsonPlace& merge);

class BpeMerges {
 public:
  BpeMerges() = default;
  /// The `merges` of a tokenizer.json, in the order of their ranks. Errors: user error naming file
  /// and merge for texts (or their join) that the vocabulary lacks.
  BpeMerges(const JsonPlace& merges, const Vocabulary& vocabulary);

  /// Merges what can be merged; n symbols take n log n steps.
  void apply(std::vector<int32_t>& symbols) const;

 private:
  struct Merge {
    int32_t rank = no_merge;
    int32_t id = -1;
  };
  static constexpr int32_t no_merge = INT32_MAX;

  Merge merge_of(int32_t left, int32_t right) const;
  void merge_short(std::vector<int32_t>& symbols) const;
  void merge_long(std::vector<int32_t>& symbols) const;

  std::unordered_map<uint64_t, Merge> merges_;  ///< (left, right) → rank and result
};

}  // namespace ropesweep::llama
