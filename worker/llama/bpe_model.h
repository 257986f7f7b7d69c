// The `model` of a tokenizer.json of type BPE: what byte-level BPE and BPE over characters share.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "worker/llama/bpe_merges.h"
#include "worker/llama/json_place.h"

namespace ropesweep::llama {

/// Errors: user error naming file and field where a model is of another type (Unigram, WordPiece).
void require_bpe(const JsonPlace& model);

class BpeModel {
 public:
  virtual ~BpeModel() = default;

  /// Appends the ids of one pre-token (valid UTF-8).
  void encode(std::string_view word, std::vector<int32_t>& ids) const;

  /// Where the part of `word` that begins at `from` ends: parts are encoded one by one, to the same
  /// ids as the whole, so that those seen before come from a cache.
  virtual size_t part_end(std::string_view word, size_t /*from*/) const { return word.size(); }

  const Vocabulary& vocabulary() const { return vocabulary_; }

 protected:
  /// Reads vocabulary, merges, ignore_merges, unk_token, fuse_unk. Errors: user error naming file
  /// and field.
  explicit BpeModel(const JsonPlace& model);

  /// Appends the symbols that merging begins with.
  virtual void first_symbols(std::string_view word, std::vector<int32_t>& symbols) const = 0;
  /// The id of a word that is a token as a whole, or −1; asked when merges are ignored for words.
  virtual int32_t id_of_word(std::string_view word) const = 0;

  bool ignores_merges() const { return ignore_merges_; }
  bool fuses_unknown() const { return fuse_unknown_; }
  int32_t unknown_id() const { return unknown_id_; }  ///< −1: what is unknown is left out

 private:
  Vocabulary vocabulary_;
  BpeMerges merges_;
  int32_t unknown_id_ = -1;
  bool fuse_unknown_ = false;
  bool ignore_merges_ = false;
};

}  // namespace ropesweep::llama
