// The tokenizer of a checkpoint: added tokens → normalizer → pre-tokenizer → BPE → post-processor,
// as the Hugging Face library `tokenizers` chains them.
#include "worker/llama/tokenizer.h"

#include <algorithm>
#include <mutex>
#include <unordered_map>

#include "worker/llama/added_tokens.h"
#include "worker/llama/byte_level_bpe.h"
#include "worker/llama/json_place.h"
#include "worker/llama/lora_files.h"
#include "worker/llama/normalizer.h"
#include "worker/llama/post_processor.h"
#include "worker/llama/pre_tokenizer.h"
#include "worker/llama/utf8.h"

namespace ropesweep::llama {
namespace {

/// Words that were encoded before. Prose repeats its words, so most merging is done once.
class WordCache {
 public:
  const std::vector<int32_t>* find(std::string_view word) const {
    const auto found = words_.find(word);
    return found == words_.end() ? nullptr : &found->second;
  }
  void insert(std::string_view word, std::vector<int32_t> ids) {
    if (words_.size() < most_words && word.size() <= longest_word) {
      words_.emplace(std::string(word), std::move(ids));
    }
  }

 private:
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view word) const { return std::hash<std::string_view>()(word); }
  };
  static constexpr size_t most_words = 1 << 17, longest_word = 128;
  std::unordered_map<std::string, std::vector<int32_t>, Hash, std::equal_to<>> words_;
};

class BpeTokenizer : public Tokenizer {
 public:
  BpeTokenizer(const JsonPlace& root, const std::filesystem::path& directory);

  std::vector<int32_t> encode(std::string_view text, bool special_tokens) const override;
  std::string decode(const std::vector<int32_t>& ids, bool skip_special) const override;
  int64_t vocabulary() const override { return static_cast<int64_t>(bytes_.size()); }
  int32_t id_of(std::string_view token) const override {
    const auto found = ids_.find(std::string(token));
    return found == ids_.end() ? -1 : found->second;
  }

 private:
  void index_tokens();
  void check_decoder(const JsonPlace& decoder) const;
  void read_config(const std::filesystem::path& directory);
  int32_t special_id(const JsonPlace& config, const char* key) const;
  void encode_piece(std::string_view piece, WordCache& cache, std::vector<int32_t>& ids) const;

  ByteLevelBpe model_;
  AddedTokens added_;
  Normalizer normalizer_;
  PreTokenizer pre_tokenizer_;
  PostProcessor post_processor_;
  std::unordered_map<std::string, int32_t>
      ids_;                         ///< text as in the file → id, added tokens included
  std::vector<std::string> bytes_;  ///< id → the bytes it stands for
  mutable std::mutex cache_mutex_;
  mutable WordCache cache_;
};

BpeTokenizer::BpeTokenizer(const JsonPlace& root, const std::filesystem::path& directory)
    : model_(root.at("model")),
      added_(root.at("added_tokens"), model_.vocabulary()),
      normalizer_(root.at("normalizer")),
      pre_tokenizer_(root.at("pre_tokenizer")),
      post_processor_(root.at("post_processor")) {
  index_tokens();
  check_decoder(root.at("decoder"));
  for (const int32_t id : post_processor_.ids()) {
    if (id >= vocabulary()) {
      root.at("post_processor").fail(fmt::format("token id {} is past the vocabulary", id));
    }
  }
  read_config(directory);
}

void BpeTokenizer::index_tokens() {
  ids_ = model_.vocabulary();
  for (const AddedToken& token : added_.all()) ids_[token.text] = token.id;
  int32_t last = -1;
  for (const auto& [text, id] : ids_) last = std::max(last, id);
  bytes_.resize(static_cast<size_t>(last) + 1);
  for (const auto& [text, id] : ids_) {
    bytes_[static_cast<size_t>(id)] = bytes_of_characters(text).value_or(text);
  }
}

void BpeTokenizer::check_decoder(const JsonPlace& decoder) const {
  const std::string& type = decoder.at("type").string();
  if (type != "ByteLevel") {
    decoder.at("type").fail(fmt::format("'{}' is not supported; expected ByteLevel", type));
  }
}

/// The id of a token that tokenizer_config.json names, as a text or an object with `content`.
int32_t BpeTokenizer::special_id(const JsonPlace& config, const char* key) const {
  if (!config.has(key)) return -1;
  const JsonPlace place = config.at(key);
  const std::string& text =
      place.value().is_object() ? place.at("content").string() : place.string();
  const int32_t id = id_of(text);
  if (id < 0) place.fail(fmt::format("'{}' is no token of tokenizer.json", text));
  return id;
}

void BpeTokenizer::read_config(const std::filesystem::path& directory) {
  const auto template_file = directory / "chat_template.jinja";
  if (std::filesystem::is_regular_file(template_file)) {
    chat_template_ = read_whole_file(template_file);
  }
  const auto file = directory / "tokenizer_config.json";
  if (!std::filesystem::is_regular_file(file)) return;
  const nlohmann::json json = read_json_file(file);
  const JsonPlace config(json, file.string());
  config.object();
  bos_id_ = special_id(config, "bos_token");
  eos_id_ = special_id(config, "eos_token");
  if (!chat_template_.empty() || !config.has("chat_template")) return;
  const JsonPlace chat_template = config.at("chat_template");
  if (chat_template.value().is_string()) {
    chat_template_ = chat_template.string();
    return;
  }
  for (size_t i = 0; i < chat_template.size(); ++i) {  // several by name: the default one
    const JsonPlace named = chat_template.at(i);
    if (named.at("name").string() == "default") chat_template_ = named.at("template").string();
  }
}

void BpeTokenizer::encode_piece(std::string_view piece, WordCache& cache,
                                std::vector<int32_t>& ids) const {
  pre_tokenizer_.split(piece, [&](std::string_view word) {
    if (const auto* known = cache.find(word)) {
      ids.insert(ids.end(), known->begin(), known->end());
      return;
    }
    std::vector<int32_t> word_ids;
    model_.encode(word, word_ids);
    ids.insert(ids.end(), word_ids.begin(), word_ids.end());
    cache.insert(word, std::move(word_ids));
  });
}

std::vector<int32_t> BpeTokenizer::encode(std::string_view text, bool special_tokens) const {
  std::string repaired;
  if (!is_valid_utf8(text)) text = repaired = replace_invalid_utf8(text);
  // Threads that find the cache in use take one of their own for this text.
  const std::unique_lock<std::mutex> lock(cache_mutex_, std::try_to_lock);
  WordCache own;
  WordCache& cache = lock.owns_lock() ? cache_ : own;
  std::vector<int32_t> ids;
  const auto encode_normalized = [&](std::string_view piece, std::optional<int32_t> id) {
    if (id) {
      ids.push_back(*id);
    } else {
      encode_piece(piece, cache, ids);
    }
  };
  added_.split(text, false, [&](std::string_view piece, std::optional<int32_t> id) {
    if (id) {
      ids.push_back(*id);
    } else if (normalizer_.changes_nothing()) {
      added_.split(piece, true, encode_normalized);
    } else {
      added_.split(normalizer_.normalize(piece), true, encode_normalized);
    }
  });
  return special_tokens ? post_processor_.add_special_tokens(std::move(ids)) : ids;
}

std::string BpeTokenizer::decode(const std::vector<int32_t>& ids, bool skip_special) const {
  std::string bytes;
  for (const int32_t id : ids) {
    // Models may have more rows than the tokenizer has tokens; such ids have no text.
    if (id < 0 || id >= vocabulary() || (skip_special && added_.is_special(id))) continue;
    bytes += bytes_[static_cast<size_t>(id)];
  }
  return replace_invalid_utf8(bytes);
}

}  // namespace

std::unique_ptr<const Tokenizer> read_tokenizer(const std::filesystem::path& named) {
  const std::filesystem::path directory = directory_with("tokenizer.json", named);
  const auto file = directory / "tokenizer.json";
  if (!std::filesystem::is_regular_file(file)) {
    throw_user_error("{}: no such file; a checkpoint directory holds its tokenizer.json",
                     file.string());
  }
  const nlohmann::json json = read_json_file(file);
  return std::make_unique<BpeTokenizer>(JsonPlace(json, file.string()), directory);
}

}  // namespace ropesweep::llama
