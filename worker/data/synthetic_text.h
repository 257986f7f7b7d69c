// Documents of synthetic text: what is trained on and what perplexity is measured on.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "worker/data/builders.h"
#include "worker/data/wiki_facts.h"
#include "worker/llama/tokenizer.h"

namespace ropesweep::data {

struct SyntheticDocument {
  std::string text;
  std::string kind;         ///< synthetic-wiki | lines | passkey | wikiqa
  std::vector<Fact> facts;  ///< of synthetic-wiki: what it states
};

/// Document `index` of synthetic-wiki or synthetic-mix: at least options.tokens tokens.
SyntheticDocument synthetic_document(const BuildOptions& options, const llama::Tokenizer& tokenizer,
                                     int64_t index);

}  // namespace ropesweep::data
