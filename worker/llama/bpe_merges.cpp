// Merging by a scan where a word is short, by a heap where it is long.
#include "worker/llama/bpe_merges.h"

#include <algorithm>
#include <array>
#include <queue>

namespace ropesweep::llama {
namespace {

constexpr size_t short_word = 48;  ///< up to here a scan for the least rank beats a heap

uint64_t pair_key(int32_t left, int32_t right) {
  return (static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32) | static_cast<uint32_t>(right);
}

}  // namespace

std::pair<std::string, std::string> merge_texts(const JsonPlace& merge) {
  if (merge.value().is_array()) {
    if (merge.size() != 2) merge.fail("expected two token texts");
    return {merge.at(0).string(), merge.at(1).string()};
  }
  const std::string& text = merge.string();
  const size_t space = text.find(' ');
  if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos) {
    merge.fail("expected two token texts with one space between");
  }
  return {text.substr(0, space), text.substr(space + 1)};
}

BpeMerges::BpeMerges(const JsonPlace& merges, const Vocabulary& vocabulary) {
  merges_.reserve(merges.size());
  for (size_t i = 0; i < merges.size(); ++i) {
    const JsonPlace place = merges.at(i);
    const auto [left, right] = merge_texts(place);
    const auto id_of = [&](const std::string& text) {
      const auto found = vocabulary.find(text);
      if (found == vocabulary.end()) place.fail(fmt::format("'{}' is not in the vocabulary", text));
      return found->second;
    };
    const int32_t left_id = id_of(left), right_id = id_of(right);
    merges_[pair_key(left_id, right_id)] = {static_cast<int32_t>(i), id_of(left + right)};
  }
}

BpeMerges::Merge BpeMerges::merge_of(int32_t left, int32_t right) const {
  const auto found = merges_.find(pair_key(left, right));
  return found == merges_.end() ? Merge{} : found->second;
}

void BpeMerges::merge_short(std::vector<int32_t>& symbols) const {
  std::array<Merge, short_word> merges;  // of symbols i and i + 1
  size_t count = symbols.size();
  for (size_t i = 0; i + 1 < count; ++i) merges[i] = merge_of(symbols[i], symbols[i + 1]);
  while (count > 1) {
    const auto end = merges.begin() + static_cast<std::ptrdiff_t>(count - 1);
    const auto least = std::min_element(
        merges.begin(), end, [](const Merge& a, const Merge& b) { return a.rank < b.rank; });
    if (least->rank == no_merge) break;
    const auto i = static_cast<size_t>(least - merges.begin());
    symbols[i] = least->id;
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(i) + 1);
    std::copy(least + 1, end, least);
    --count;
    if (i + 1 < count) merges[i] = merge_of(symbols[i], symbols[i + 1]);
    if (i > 0) merges[i - 1] = merge_of(symbols[i - 1], symbols[i]);
  }
}

void BpeMerges::merge_long(std::vector<int32_t>& symbols) const {
  struct Candidate {
    Merge merge;
    size_t left, right;
    int32_t left_symbol, right_symbol;  // as they were: a candidate goes stale when either changes
    bool operator<(
        const Candidate& other) const {  // the top of the heap: least rank, then leftmost
      return merge.rank != other.merge.rank ? merge.rank > other.merge.rank : left > other.left;
    }
  };
  const size_t none = symbols.size();
  std::vector<size_t> previous(none), next(none);
  std::priority_queue<Candidate> heap;
  const auto propose = [&](size_t left, size_t right) {
    const Merge merge = merge_of(symbols[left], symbols[right]);
    if (merge.rank != no_merge) heap.push({merge, left, right, symbols[left], symbols[right]});
  };
  for (size_t i = 0; i < none; ++i) {
    previous[i] = i == 0 ? none : i - 1;
    next[i] = i + 1;
  }
  for (size_t i = 0; i + 1 < none; ++i) propose(i, i + 1);
  while (!heap.empty()) {
    const Candidate top = heap.top();
    heap.pop();
    if (symbols[top.left] != top.left_symbol || symbols[top.right] != top.right_symbol) continue;
    symbols[top.left] = top.merge.id;
    symbols[top.right] = -1;  // gone
    next[top.left] = next[top.right];
    if (next[top.left] != none) {
      previous[next[top.left]] = top.left;
      propose(top.left, next[top.left]);
    }
    if (previous[top.left] != none) propose(previous[top.left], top.left);
  }
  std::erase(symbols, -1);
}

void BpeMerges::apply(std::vector<int32_t>& symbols) const {
  if (symbols.size() <= short_word) {
    merge_short(symbols);
  } else {
    merge_long(symbols);
  }
}

}  // namespace ropesweep::llama
