// Reading a BPE model.
#include "worker/llama/bpe_model.h"

#include <unordered_set>

namespace ropesweep::llama {
namespace {

constexpr int64_t largest_id = (1 << 24) - 1;

void refuse_affix(const JsonPlace& model, const char* key) {
  if (model.has(key) && !model.at(key).string().empty()) {
    model.at(key).fail("is not supported; this reads BPE without prefixes or suffixes");
  }
}

Vocabulary read_vocabulary(const JsonPlace& place) {
  Vocabulary vocabulary;
  std::unordered_set<int32_t> seen;
  for (const auto& [text, value] : place.object().items()) {
    const JsonPlace entry = place.at(text);
    const auto id = static_cast<int32_t>(entry.integer(0, largest_id));
    if (!seen.insert(id).second) entry.fail(fmt::format("id {} is given twice", id));
    vocabulary.emplace(text, id);
  }
  if (vocabulary.empty()) place.fail("is empty");
  return vocabulary;
}

}  // namespace

void require_bpe(const JsonPlace& model) {
  const std::string type = model.has("type") ? model.at("type").string() : "BPE";
  if (type != "BPE") {
    model.at("type").fail(
        fmt::format("'{}' is not supported; expected BPE, byte-level (as Llama 3, Qwen2 and "
                    "GPT-NeoX) or with byte fallback (as Llama 2)",
                    type));
  }
}

BpeModel::BpeModel(const JsonPlace& model) {
  if (model.has("dropout") && model.at("dropout").value() != 0) {
    model.at("dropout").fail("is not supported: encoding would be random");
  }
  refuse_affix(model, "continuing_subword_prefix");
  refuse_affix(model, "end_of_word_suffix");
  fuse_unknown_ = model.boolean_or("fuse_unk", false);
  ignore_merges_ = model.boolean_or("ignore_merges", false);
  vocabulary_ = read_vocabulary(model.at("vocab"));
  merges_ = BpeMerges(model.at("merges"), vocabulary_);
  if (model.has("unk_token")) {
    const auto found = vocabulary_.find(model.at("unk_token").string());
    if (found == vocabulary_.end()) model.at("unk_token").fail("is not in the vocabulary");
    unknown_id_ = found->second;
  }
}

void BpeModel::encode(std::string_view word, std::vector<int32_t>& ids) const {
  if (ignore_merges_) {
    if (const int32_t id = id_of_word(word); id >= 0) {
      ids.push_back(id);
      return;
    }
  }
  std::vector<int32_t> symbols;
  symbols.reserve(word.size());
  first_symbols(word, symbols);
  merges_.apply(symbols);
  ids.insert(ids.end(), symbols.begin(), symbols.end());
}

}  // namespace ropesweep::llama
