// The words that built data sets are made of: few syllables and short word lists, so that a
// vocabulary of a thousand tokens holds them.
#pragma once

#include <cstdint>
#include <set>
#include <string>

#include "worker/data/random.h"

namespace ropesweep::data {

/// Names that have not come before: "Belden", "Corandor", … Each name of a document once.
class NameMaker {
 public:
  std::string next(Random& random);

 private:
  std::set<std::string> used_;
};

/// "amber-anchor": the adjective-noun pair `index`, all different; past adjectives × nouns of them
/// a second adjective goes before.
std::string word_pair(int64_t index);
int64_t word_pairs_with_two_words();

}  // namespace ropesweep::data
