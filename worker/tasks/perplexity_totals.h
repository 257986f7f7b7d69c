// The sums from which a perplexity and its error are formed.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>
#include <vector>

#include "experiments/outcome.h"

namespace ropesweep::tasks {

/// Sums of one cell, window by window.
class PerplexityTotals {
 public:
  /// The scored losses of the next window (at least one); windows of a document come one after
  /// another.
  void add_window(int64_t document, std::span<const float> losses);
  /// The same by the sum of its `tokens` losses, as sum_of gives it.
  void add_window(int64_t document, double nll, int64_t tokens);
  static double sum_of(std::span<const float> losses);

  /// ppl_token first, then ppl_window. ppl_token's units are documents; windows when there is one
  /// document.
  std::vector<Measure> measures() const;

  int64_t tokens() const { return windows_.tokens; }

  /// The whole state, to the bit, and back. Errors: nlohmann's exception for another JSON.
  nlohmann::json saved() const;
  void restore(const nlohmann::json& saved);

 private:
  /// Sums over units (documents or windows) for a ratio Σy/Σt and its error.
  struct Moments {
    int64_t count = 0, tokens = 0;
    double sum_nll = 0, sum_yy = 0, sum_yt = 0, sum_tt = 0;
    void add(double nll, int64_t unit_tokens);
  };

  /// Calls `visit` with each field, in the order in which they are saved.
  template <typename Totals, typename Visit>
  static void each_field(Totals& totals, Visit visit);

  Moments with_open_document() const;

  int64_t open_document_ = -1;
  double open_nll_ = 0;
  int64_t open_tokens_ = 0;
  Moments documents_, windows_;
  double sum_of_means_ = 0, sum_of_squared_means_ = 0;
};

}  // namespace ropesweep::tasks
