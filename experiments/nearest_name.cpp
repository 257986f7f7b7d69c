// Edit distance over short names: insertions, deletions, substitutions, each at cost 1.
#include "experiments/nearest_name.h"

#include <algorithm>
#include <numeric>

namespace ropesweep {
namespace {

/// Levenshtein's distance, one row at a time.
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];  // distance(a[..i-1], b[..j-1])
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t above = row[j];
      const size_t substituted = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({above + 1, row[j - 1] + 1, substituted});
      diagonal = above;
    }
  }
  return row[b.size()];
}

}  // namespace

std::string nearest_name(std::string_view word, const std::vector<std::string>& known) {
  const size_t bound = std::max<size_t>(2, word.size() / 3);
  std::string nearest;
  size_t least = bound + 1;
  for (const std::string& name : known) {
    const size_t distance = edit_distance(word, name);
    // A name that has nothing in common with the word helps nobody.
    if (distance < least && distance < std::max(word.size(), name.size())) {
      least = distance;
      nearest = name;
    }
  }
  return nearest;
}

}  // namespace ropesweep
