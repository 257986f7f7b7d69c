// Documents and samples, whatever they were read or built from.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "experiments/settings.h"
#include "worker/llama/tokenizer.h"

namespace ropesweep::data {

struct Document {
  int64_t index = 0;  ///< the record's number, from 0
  std::string text;
};

/// A stream of documents; never holds more than one.
class DocumentSource {
 public:
  virtual ~DocumentSource() = default;
  /// False at the end. Errors: user error "FILE:LINE: field: what" for a malformed record.
  virtual bool next(Document& document) = 0;
  int64_t bad_records() const { return bad_records_; }  ///< skipped, when settings ask to skip

 protected:
  int64_t bad_records_ = 0;
};

/// One prompt with its known answer.
struct Sample {
  int64_t index = 0;
  std::string prompt;
  std::string reference;  ///< expected text or number
  std::string location;   ///< where the answer stands: "start", "random", "end", or a depth "0.35"
  std::string question_location;  ///< "start" | "end" | ""
};

/// Documents of `text` (path: .txt, .jsonl, .json lines, each plain, .gz or .zst) and of
/// `synthetic-wiki` (built: at least `built_tokens` tokens a document under `tokenizer`). Errors:
/// user error for a missing, empty or unknown file, or another kind.
std::unique_ptr<DocumentSource> open_documents(const DatasetSettings& settings,
                                               const llama::Tokenizer& tokenizer,
                                               int64_t built_tokens);

/// Samples of lines, passkey, wikiqa: read from `path`, or built so that a prompt has at most
/// `context_length − max_new_tokens` tokens, and nearly that many.
std::vector<Sample> load_samples(const DatasetSettings& settings, const llama::Tokenizer& tokenizer,
                                 int64_t context_length);

/// The default of max_new_tokens for a kind (lines 35, passkey 16, wikiqa 50).
int64_t default_new_tokens(const std::string& kind);

}  // namespace ropesweep::data
