// An evaluation shared among the ranks of a group by sample (a perplexity window, a question):
// which samples a rank takes, and what each gave, brought together in the samples' order. Who adds
// the values up in that order has one rank's sums to the bit, whatever the number of ranks.
//
// With a whole model on each rank, ranks run apart until they meet in in_order. With weights shared
// among them, all must make the same passes: a rank that is out of samples makes one for nothing in
// the last round.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "worker/backend/collective.h"

namespace ropesweep::tasks {

class SampleShare {
 public:
  /// `group` null: all samples are the caller's. Backend and group must outlive it.
  SampleShare(backend::Backend& backend, backend::Collective* group);

  int rank() const { return group_ == nullptr ? 0 : group_->rank(); }
  int size() const { return group_ == nullptr ? 1 : group_->size(); }

  /// Samples rank, rank + n, rank + 2n, …: neighbours are alike in length.
  bool is_own(int64_t sample) const { return sample % size() == rank(); }
  /// How many of `samples` are this rank's.
  int64_t own_count(int64_t samples) const;
  /// How many the rank with most of them has.
  int64_t rounds(int64_t samples) const { return (samples + size() - 1) / size(); }

  /// Σ over the ranks; all ranks call it.
  double sum(double own) const;
  /// Whether any rank says so; all ranks call it.
  bool any(bool own) const { return sum(own ? 1 : 0) > 0; }
  /// Returns when all ranks have called it.
  void barrier() const { sum(0); }
  /// Rank 0's values, on every rank; all ranks give as many. Errors: LostMember.
  std::vector<double> of_first(std::vector<double> values) const;

  /// Of `own`, `width` values for each own sample one after another: `width` values for each of
  /// `samples`, in their order, on every rank. All ranks call it, with the same samples and width.
  /// Errors: std::invalid_argument when `own` has another length; LostMember.
  std::vector<double> in_order(std::span<const double> own, int64_t samples, int64_t width) const;

 private:
  backend::Backend& backend_;
  backend::Collective* group_;
};

}  // namespace ropesweep::tasks
