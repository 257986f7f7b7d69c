// Which keys a query sees, and which queries a key is seen by, as AttentionShape says: both are
// ranges whose ends never step back from one row to the next, so that the hull of a tile's rows
// goes from its first row's begin to its last row's end. For hosts and devices.
//
// Letters: T queries · S keys
#pragma once

#include <algorithm>
#include <cstdint>

#include "worker/backend/ops.h"

namespace ropesweep::backend {

struct AttentionBand {
  int64_t queries;   ///< T
  int64_t keys;      ///< that are seen at all: the smaller of S and first_keys
  int64_t position;  ///< of query 0
  int64_t nearest, farthest;

  /// Query t sees the keys first_key(t) … end_key(t) − 1; none when the end is not above the first.
  constexpr int64_t first_key(int64_t t) const {
    return std::max<int64_t>(0, position + t - farthest + 1);
  }
  constexpr int64_t end_key(int64_t t) const { return std::min(keys, position + t - nearest + 1); }
  /// Key j < keys is seen by the queries first_query(j) … end_query(j) − 1, likewise.
  constexpr int64_t first_query(int64_t j) const {
    return std::max<int64_t>(0, j + nearest - position);
  }
  constexpr int64_t end_query(int64_t j) const {
    return std::min(queries, j + farthest - position);
  }

  constexpr bool sees(int64_t t, int64_t j) const { return j >= first_key(t) && j < end_key(t); }
  /// Whether each of the queries first … end − 1 sees each of the keys from … to − 1.
  constexpr bool sees_all(int64_t first, int64_t end, int64_t from, int64_t to) const {
    return end <= queries && from >= first_key(end - 1) && to <= end_key(first);
  }
  constexpr int64_t distance(int64_t t, int64_t j) const { return position + t - j; }
};

inline AttentionBand band_of(const AttentionShape& s) {
  return {s.queries, std::min(s.keys, s.first_keys), s.first_position.value_or(s.keys - s.queries),
          s.nearest, s.farthest};
}

/// Whether each query sees all keys up to its own position, and the last one all: what any library
/// of attention can do.
inline bool is_causal(const AttentionShape& s) {
  const AttentionBand band = band_of(s);
  return s.keys >= s.queries && band.position == s.keys - s.queries && band.nearest == 0 &&
         band.farthest >= s.keys && band.keys == s.keys;
}

/// Pairs of a query and a key that it sees, of one sequence and head.
inline double visible_pairs(const AttentionShape& s) {
  const AttentionBand band = band_of(s);
  if (is_causal(s)) {
    return 0.5 * static_cast<double>(s.queries) *
           (static_cast<double>(s.keys - s.queries + 1) + static_cast<double>(s.keys));
  }
  double pairs = 0;
  for (int64_t t = 0; t < s.queries; ++t) {
    pairs += static_cast<double>(std::max<int64_t>(0, band.end_key(t) - band.first_key(t)));
  }
  return pairs;
}

}  // namespace ropesweep::backend
