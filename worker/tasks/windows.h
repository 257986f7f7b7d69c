// Which tokens of a document a perplexity window holds, and which of them it scores. Pure.
#pragma once

#include <cstdint>
#include <vector>

#include "experiments/settings.h"

namespace ropesweep::tasks {

struct WindowRule {
  bool sliding = true;         ///< false: truncated, one window a document
  int64_t context_length = 0;  ///< N, positions of a window; BOS is one of them
  int64_t stride = 256;        ///< S, tokens between the starts of sliding windows
  int64_t last_tokens = 0;     ///< truncated: only the last n positions are scored; 0: all
  bool bos = false;            ///< each window begins with BOS, which is never predicted
};

/// A run of a document's tokens; positions count from the document's first token.
struct Window {
  int64_t first = 0;       ///< the first token held
  int64_t tokens = 0;      ///< tokens held, without BOS
  int64_t score_from = 0;  ///< tokens score_from … first + tokens − 1 are scored here

  int64_t end() const { return first + tokens; }
  int64_t scored() const { return end() - score_from; }
  bool operator==(const Window&) const = default;
};

/// The rule that data set settings give at context length `context_length`. `has_bos`: the
/// tokenizer has one. Errors: user error for an unknown window or bos setting, a stride below 1,
/// fewer than 2 positions, or BOS asked for where there is none.
WindowRule window_rule(const DatasetSettings& settings, int64_t context_length, bool has_bos);

/// Sliding windows start at 0, S, 2S, … until one holds the last token; each token is scored in the
/// first window that holds it, but a window's first token only where BOS stands before it. A
/// document shorter than N is one window of its own length. Windows that score nothing are left
/// out.
std::vector<Window> plan_windows(int64_t document_tokens, const WindowRule& rule);

}  // namespace ropesweep::tasks
