// Added tokens → normalizer → pre-tokenizer → BPE → post-processor, as the Hugging Face library
// `tokenizers` chains them, and the decoder.
#include "worker/llama/bpe_tokenizer.h"

#include <algorithm>
#include <mutex>

#include "worker/llama/added_tokens.h"
#include "worker/llama/byte_level_bpe.h"
#include "worker/llama/character_bpe.h"
#include "worker/llama/decoder.h"
#include "worker/llama/normalizer.h"
#include "worker/llama/post_processor.h"
#include "worker/llama/pre_tokenizer.h"
#include "worker/llama/tokenizer_config.h"
#include "worker/llama/utf8.h"
#include "worker/llama/word_cache.h"

namespace ropesweep::llama {
namespace {

/// What a table by id may have for nothing: a short file must not ask for much memory.
constexpr size_t most_unused_ids = size_t{1} << 20;

std::unique_ptr<const BpeModel> make_model(const JsonPlace& model, bool byte_level) {
  if (byte_level) return std::make_unique<ByteLevelBpe>(model);
  return std::make_unique<CharacterBpe>(model);
}

class BpeTokenizer : public Tokenizer {
 public:
  BpeTokenizer(const JsonPlace& root, const std::filesystem::path& directory);

  std::vector<int32_t> encode(std::string_view text, bool special_tokens) const override;
  std::string decode(const std::vector<int32_t>& ids, bool skip_special) const override;
  int64_t vocabulary() const override { return static_cast<int64_t>(texts_.size()); }
  int32_t id_of(std::string_view token) const override {
    const auto found = ids_.find(std::string(token));
    return found == ids_.end() ? -1 : found->second;
  }

 private:
  void index_tokens(const JsonPlace& root);
  void encode_part(std::string_view part, WordCache& cache, std::vector<int32_t>& ids) const;
  void encode_word(std::string_view word, WordCache& cache, std::vector<int32_t>& ids) const;

  PreTokenizer pre_tokenizer_;
  std::unique_ptr<const BpeModel> model_;
  Normalizer normalizer_;
  AddedTokens added_;
  PostProcessor post_processor_;
  Decoder decoder_;
  Vocabulary ids_;  ///< text as in the file → id, added tokens included
  std::vector<std::string>
      texts_;  ///< id → the text for the decoder; with a byte-level one, the bytes
  mutable std::mutex cache_mutex_;
  mutable WordCache cache_;
};

BpeTokenizer::BpeTokenizer(const JsonPlace& root, const std::filesystem::path& directory)
    : pre_tokenizer_(root.at("pre_tokenizer")),
      model_(make_model(root.at("model"), pre_tokenizer_.is_byte_level())),
      normalizer_(root.at("normalizer")),
      added_(root.at("added_tokens"), model_->vocabulary(), normalizer_),
      post_processor_(root.at("post_processor")),
      decoder_(root.at("decoder")) {
  index_tokens(root);
  for (const int32_t id : post_processor_.ids()) {
    if (id >= vocabulary()) {
      root.at("post_processor").fail(fmt::format("token id {} is past the vocabulary", id));
    }
  }
  const TokenizerConfig config(directory);
  const auto id = [this](std::string_view text) { return id_of(text); };
  bos_id_ = config.special_id("bos_token", id, -1);
  eos_id_ = config.special_id("eos_token", id, -1);
  chat_template_ = config.chat_template();
}

void BpeTokenizer::index_tokens(const JsonPlace& root) {
  ids_ = model_->vocabulary();
  for (const AddedToken& token : added_.all()) ids_[token.text] = token.id;
  int32_t last = -1;
  for (const auto& [text, id] : ids_) last = std::max(last, id);
  if (static_cast<size_t>(last) > ids_.size() + most_unused_ids) {
    root.at("model").at("vocab").fail(
        fmt::format("has {} tokens with ids up to {}: too many are unused", ids_.size(), last));
  }
  texts_.resize(static_cast<size_t>(last) + 1);
  for (const auto& [text, id] : ids_) texts_[static_cast<size_t>(id)] = text;
  for (const AddedToken& token : added_.all()) {
    if (token.normalized) texts_[static_cast<size_t>(token.id)] = normalizer_.normalize(token.text);
  }
  if (!decoder_.is_byte_level()) return;
  for (std::string& text : texts_) text = bytes_of_characters(text).value_or(text);
}

void BpeTokenizer::encode_part(std::string_view part, WordCache& cache,
                               std::vector<int32_t>& ids) const {
  if (const auto* known = cache.find(part)) {
    ids.insert(ids.end(), known->begin(), known->end());
    return;
  }
  std::vector<int32_t> part_ids;
  model_->encode(part, part_ids);
  ids.insert(ids.end(), part_ids.begin(), part_ids.end());
  cache.insert(part, std::move(part_ids));
}

void BpeTokenizer::encode_word(std::string_view word, WordCache& cache,
                               std::vector<int32_t>& ids) const {
  for (size_t from = 0; from < word.size();) {
    const size_t end = model_->part_end(word, from);
    encode_part(word.substr(from, end - from), cache, ids);
    from = end;
  }
}

std::vector<int32_t> BpeTokenizer::encode(std::string_view text, bool special_tokens) const {
  std::string repaired;
  if (!is_valid_utf8(text)) text = repaired = replace_invalid_utf8(text);
  // Threads that find the cache in use take one of their own for this text.
  const std::unique_lock<std::mutex> lock(cache_mutex_, std::try_to_lock);
  WordCache own;
  WordCache& cache = lock.owns_lock() ? cache_ : own;
  PreTokenizer::Cutter cutter(pre_tokenizer_);
  std::vector<int32_t> ids;
  const std::function<void(std::string_view)> take_word = [&](std::string_view word) {
    encode_word(word, cache, ids);
  };
  added_.split(text, false, [&](std::string_view piece, std::optional<int32_t> special) {
    if (special) {
      ids.push_back(*special);
      return;
    }
    std::string changed;
    std::string_view normalized = piece;
    if (!normalizer_.changes_nothing()) normalized = changed = normalizer_.normalize(piece);
    added_.split(normalized, true, [&](std::string_view part, std::optional<int32_t> id) {
      const bool at_start = piece.data() == text.data() && part.data() == normalized.data();
      if (id) {
        ids.push_back(*id);
      } else {
        cutter.split(part, at_start, take_word);
      }
    });
  });
  return special_tokens ? post_processor_.add_special_tokens(std::move(ids)) : ids;
}

std::string BpeTokenizer::decode(const std::vector<int32_t>& ids, bool skip_special) const {
  std::string bytes;
  std::vector<std::string> tokens;
  for (const int32_t id : ids) {
    // Models may have more rows than the tokenizer has tokens; such ids have no text.
    if (id < 0 || id >= vocabulary() || (skip_special && added_.is_special(id))) continue;
    const std::string& text = texts_[static_cast<size_t>(id)];
    if (decoder_.is_byte_level()) {
      bytes += text;
    } else {
      tokens.push_back(text);
    }
  }
  return decoder_.is_byte_level() ? replace_invalid_utf8(bytes)
                                  : decoder_.decode(std::move(tokens));
}

}  // namespace

std::unique_ptr<Tokenizer> read_bpe_tokenizer(const std::filesystem::path& directory) {
  const auto file = directory / "tokenizer.json";
  const nlohmann::json json = read_json_file(file);
  const JsonPlace root(json, file.string());
  require_bpe(root.at("model"));
  return std::make_unique<BpeTokenizer>(root, directory);
}

}  // namespace ropesweep::llama
