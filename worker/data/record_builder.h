// The builders' common shape: record `index` of a built set, from (options, index) alone.
#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>

#include "worker/data/builders.h"
#include "worker/llama/tokenizer.h"

namespace ropesweep::data {

class RecordBuilder {
 public:
  virtual ~RecordBuilder() = default;
  /// The record as write_dataset writes it.
  virtual nlohmann::ordered_json build(int64_t index) const = 0;
};

// One a kind. The tokenizer must outlive the builder.
std::unique_ptr<RecordBuilder> lines_builder(const BuildOptions& options,
                                             const llama::Tokenizer& tokenizer);
std::unique_ptr<RecordBuilder> passkey_builder(const BuildOptions& options,
                                               const llama::Tokenizer& tokenizer);
std::unique_ptr<RecordBuilder> wikiqa_builder(const BuildOptions& options,
                                              const llama::Tokenizer& tokenizer);
/// synthetic-wiki and synthetic-mix.
std::unique_ptr<RecordBuilder> synthetic_builder(const BuildOptions& options,
                                                 const llama::Tokenizer& tokenizer);

/// The builder of options.kind. Errors: those of write_dataset.
std::unique_ptr<RecordBuilder> make_record_builder(const BuildOptions& options,
                                                   const llama::Tokenizer& tokenizer);

/// Tokens of a text as a model would be given it.
int64_t count_tokens(const llama::Tokenizer& tokenizer, std::string_view text);

/// A prompt of some count of units (lines, filler sentences), and its tokens.
struct Fitted {
  int64_t units = 0;
  int64_t tokens = 0;
  std::string prompt;
};

/// The prompt with as many units as fit into `limit` tokens, to within a unit or two. `prompt_of`
/// must give the same text for the same count. Errors: user error naming `kind` when `least` units
/// don't fit.
Fitted fit_units(const char* kind, const llama::Tokenizer& tokenizer, int64_t limit, int64_t least,
                 const std::function<std::string(int64_t units)>& prompt_of);

}  // namespace ropesweep::data
