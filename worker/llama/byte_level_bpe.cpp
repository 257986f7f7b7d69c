// Reading a BPE model, and merging: the pair of least rank first, the leftmost of equals.
#include "worker/llama/byte_level_bpe.h"

#include <algorithm>
#include <queue>
#include <unordered_set>

#include "worker/llama/utf8.h"

namespace ropesweep::llama {
namespace {

constexpr int64_t largest_id = (1 << 24) - 1;
constexpr size_t short_word = 48;  ///< up to here a scan for the least rank beats a heap

uint64_t pair_key(int32_t left, int32_t right) {
  return (static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32) | static_cast<uint32_t>(right);
}

/// One merge's two texts, from "a b" or ["a", "b"].
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

void refuse_affix(const JsonPlace& model, const char* key) {
  if (model.has(key) && !model.at(key).string().empty()) {
    model.at(key).fail("is not supported; this reads byte-level BPE without prefixes or suffixes");
  }
}

}  // namespace

const std::array<char32_t, 256>& byte_characters() {
  static const std::array<char32_t, 256> characters = [] {
    std::array<char32_t, 256> table{};
    char32_t next = 0x100;
    for (char32_t byte = 0; byte < 256; ++byte) {
      const bool itself =
          (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
      table[byte] = itself ? byte : next++;
    }
    return table;
  }();
  return characters;
}

std::optional<std::string> bytes_of_characters(std::string_view characters) {
  static const std::array<int16_t, 0x144> bytes = [] {
    std::array<int16_t, 0x144> table{};
    table.fill(-1);
    for (size_t byte = 0; byte < 256; ++byte) {
      table[byte_characters()[byte]] = static_cast<int16_t>(byte);
    }
    return table;
  }();
  std::string result;
  for (size_t at = 0; at < characters.size();) {
    const CodePoint point = code_point_at(characters, at);
    if (point.length == 0 || point.value >= bytes.size() || bytes[point.value] < 0) return {};
    result.push_back(static_cast<char>(bytes[point.value]));
    at += point.length;
  }
  return result;
}

ByteLevelBpe::ByteLevelBpe(const JsonPlace& model) {
  const std::string type = model.has("type") ? model.at("type").string() : "BPE";
  if (type != "BPE")
    model.at("type").fail(fmt::format("'{}' is not supported; expected BPE", type));
  if (model.has("dropout") && model.at("dropout").value() != 0) {
    model.at("dropout").fail("is not supported: encoding would be random");
  }
  if (model.boolean_or("byte_fallback", false)) {
    model.at("byte_fallback").fail("is not supported: this is no byte-level BPE");
  }
  refuse_affix(model, "continuing_subword_prefix");
  refuse_affix(model, "end_of_word_suffix");
  fuse_unknown_ = model.boolean_or("fuse_unk", false);
  ignore_merges_ = model.boolean_or("ignore_merges", false);
  read_vocabulary(model.at("vocab"));
  read_merges(model.at("merges"));
  if (model.has("unk_token")) {
    const auto found = vocabulary_.find(model.at("unk_token").string());
    if (found == vocabulary_.end()) model.at("unk_token").fail("is not in the vocabulary");
    unknown_id_ = found->second;
  }
}

void ByteLevelBpe::read_vocabulary(const JsonPlace& vocabulary) {
  std::unordered_set<int32_t> seen;
  byte_ids_.fill(-1);
  for (const auto& [text, value] : vocabulary.object().items()) {
    const JsonPlace place = vocabulary.at(text);
    const auto id = static_cast<int32_t>(place.integer(0, largest_id));
    if (!seen.insert(id).second) place.fail(fmt::format("id {} is given twice", id));
    vocabulary_.emplace(text, id);
    const auto bytes = bytes_of_characters(text);
    if (!bytes) continue;  // no text can give it but as an added token
    if (bytes->size() == 1) byte_ids_[static_cast<uint8_t>(bytes->front())] = id;
    if (ignore_merges_) words_.emplace(*bytes, id);
  }
  if (vocabulary_.empty()) vocabulary.fail("is empty");
}

void ByteLevelBpe::read_merges(const JsonPlace& merges) {
  merges_.reserve(merges.size());
  for (size_t i = 0; i < merges.size(); ++i) {
    const JsonPlace place = merges.at(i);
    const auto [left, right] = merge_texts(place);
    const auto id_of = [&](const std::string& text) {
      const auto found = vocabulary_.find(text);
      if (found == vocabulary_.end())
        place.fail(fmt::format("'{}' is not in the vocabulary", text));
      return found->second;
    };
    const int32_t left_id = id_of(left), right_id = id_of(right);
    merges_[pair_key(left_id, right_id)] = {static_cast<int32_t>(i), id_of(left + right)};
  }
}

ByteLevelBpe::Merge ByteLevelBpe::merge_of(int32_t left, int32_t right) const {
  const auto found = merges_.find(pair_key(left, right));
  return found == merges_.end() ? Merge{} : found->second;
}

void ByteLevelBpe::first_symbols(std::string_view word, std::vector<int32_t>& symbols) const {
  bool after_unknown = false;
  for (const char c : word) {
    const int32_t id = byte_ids_[static_cast<uint8_t>(c)];
    const bool unknown = id < 0;
    if (!unknown) {
      symbols.push_back(id);
    } else if (unknown_id_ >= 0 && !(fuse_unknown_ && after_unknown)) {
      symbols.push_back(unknown_id_);
    }
    after_unknown = unknown;
  }
}

void ByteLevelBpe::merge_short(std::vector<int32_t>& symbols) const {
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

void ByteLevelBpe::merge_long(std::vector<int32_t>& symbols) const {
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

void ByteLevelBpe::encode(std::string_view word, std::vector<int32_t>& ids) const {
  if (ignore_merges_) {
    const auto found = words_.find(std::string(word));
    if (found != words_.end()) {
      ids.push_back(found->second);
      return;
    }
  }
  std::vector<int32_t> symbols;
  symbols.reserve(word.size());
  first_symbols(word, symbols);
  if (symbols.size() <= short_word) {
    merge_short(symbols);
  } else {
    merge_long(symbols);
  }
  ids.insert(ids.end(), symbols.begin(), symbols.end());
}

}  // namespace ropesweep::llama
