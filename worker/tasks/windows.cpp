// The plan of perplexity windows over a document.
#include "worker/tasks/windows.h"

#include <algorithm>

#include "experiments/error.h"

namespace ropesweep::tasks {

WindowRule window_rule(const DatasetSettings& settings, int64_t context_length, bool has_bos) {
  const std::string& name = settings.name.empty() ? settings.kind : settings.name;
  if (settings.window != "sliding" && settings.window != "truncated") {
    throw_user_error("data set '{}': window '{}' is unknown; choose sliding or truncated", name,
                     settings.window);
  }
  if (settings.bos != "auto" && settings.bos != "yes" && settings.bos != "no") {
    throw_user_error("data set '{}': bos '{}' is unknown; choose auto, yes or no", name,
                     settings.bos);
  }
  if (settings.bos == "yes" && !has_bos) {
    throw_user_error(
        "data set '{}': bos = yes, but tokenizer_config.json names no bos_token; choose auto or no",
        name);
  }
  WindowRule rule;
  rule.sliding = settings.window == "sliding";
  rule.context_length = context_length;
  rule.stride = settings.stride;
  rule.last_tokens = rule.sliding ? 0 : settings.last_tokens;
  rule.bos = settings.bos == "yes" || (settings.bos == "auto" && has_bos);
  if (context_length < 2) {
    throw_user_error("data set '{}': a window needs at least 2 positions, not {}", name,
                     context_length);
  }
  if (rule.sliding && rule.stride < 1) {
    throw_user_error("data set '{}': stride must be at least 1, not {}", name, rule.stride);
  }
  if (settings.last_tokens < 0) {
    throw_user_error("data set '{}': last_tokens must not be negative", name);
  }
  return rule;
}

std::vector<Window> plan_windows(int64_t document_tokens, const WindowRule& rule) {
  const int64_t capacity = rule.context_length - (rule.bos ? 1 : 0);
  const int64_t unpredictable = rule.bos ? 0 : 1;  // a window's first token has nothing before it
  std::vector<Window> windows;
  int64_t scored_end = 0;
  for (int64_t first = 0; first < document_tokens; first += rule.stride) {
    Window window;
    window.first = first;
    window.tokens = std::min(capacity, document_tokens - first);
    window.score_from = std::max(scored_end, first + unpredictable);
    if (rule.last_tokens > 0) {
      window.score_from = std::max(window.score_from, window.end() - rule.last_tokens);
    }
    scored_end = window.end();
    if (window.scored() > 0) windows.push_back(window);
    if (!rule.sliding || window.end() == document_tokens) break;
  }
  return windows;
}

}  // namespace ropesweep::tasks
