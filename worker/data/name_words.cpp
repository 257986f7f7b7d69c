// Syllables of names, adjectives and nouns of line names.
#include "worker/data/name_words.h"

#include <array>
#include <string_view>

namespace ropesweep::data {
namespace {

constexpr std::array<std::string_view, 24> starts = {
    "Bel", "Cor", "Dal", "Fen", "Gar", "Hol", "Kel", "Lor", "Mar", "Nor",  "Orn",  "Pel",
    "Qui", "Ras", "Sel", "Tor", "Ul",  "Var", "Wen", "Yar", "Zan", "Bran", "Dren", "Thal"};
constexpr std::array<std::string_view, 12> middles = {"a",  "e",  "i",  "o",  "an", "er",
                                                      "il", "or", "am", "en", "ud", "ist"};
constexpr std::array<std::string_view, 24> ends = {
    "ba",  "den", "dor", "gan", "kos", "lin",  "mar", "nak", "pol",  "ras", "sil", "tan",
    "vek", "wyn", "zor", "fir", "gul", "hest", "jin", "lok", "mund", "nor", "rik", "sund"};

constexpr std::array<std::string_view, 64> adjectives = {
    "amber", "ample", "arid",  "bare",  "blue", "bold", "brave", "brief", "bright", "broad", "calm",
    "clear", "cold",  "crisp", "curly", "dark", "deep", "dry",   "dull",  "eager",  "early", "fair",
    "fast",  "fine",  "firm",  "flat",  "fond", "free", "fresh", "glad",  "gold",   "grand", "gray",
    "green", "happy", "hard",  "high",  "keen", "kind", "large", "late",  "light",  "long",  "loud",
    "mild",  "neat",  "new",   "odd",   "old",  "pale", "plain", "proud", "quick",  "quiet", "rare",
    "rich",  "round", "sharp", "slow",  "soft", "tall", "warm",  "wide",  "young"};
constexpr std::array<std::string_view, 64> nouns = {
    "acorn", "anchor", "apple",  "arch",  "arrow", "barn",   "bay",    "beach", "bell",   "bird",
    "boat",  "book",   "bridge", "brook", "cabin", "camp",   "candle", "cart",  "castle", "cave",
    "chair", "cliff",  "clock",  "cloud", "coast", "coin",   "crow",   "desk",  "door",   "drum",
    "eagle", "farm",   "field",  "fire",  "flag",  "forest", "fox",    "gate",  "glass",  "grove",
    "hand",  "harbor", "hill",   "horn",  "horse", "island", "key",    "lake",  "lamp",   "leaf",
    "mill",  "moon",   "oak",    "pearl", "pine",  "port",   "ring",   "road",  "rose",   "ship",
    "star",  "stone",  "tower",  "wolf"};

constexpr size_t names_per_syllable = 300;  // of 576 names of two syllables, 6912 of three

}  // namespace

std::string NameMaker::next(Random& random) {
  for (;;) {
    std::string name(random.pick(starts));
    // The fuller the set, the longer its names: drawing again soon finds a free one.
    int64_t middle_count = random.below(2);
    for (size_t full = names_per_syllable; full < used_.size(); full *= 12) ++middle_count;
    for (int64_t i = 0; i < middle_count; ++i) name += random.pick(middles);
    name += random.pick(ends);
    if (used_.insert(name).second) return name;
  }
}

int64_t word_pairs_with_two_words() {
  return static_cast<int64_t>(adjectives.size() * nouns.size());
}

std::string word_pair(int64_t index) {
  const auto i = static_cast<size_t>(index);
  std::string pair(adjectives[i % adjectives.size()]);
  pair.append("-").append(nouns[i / adjectives.size() % nouns.size()]);
  for (size_t rest = i / (adjectives.size() * nouns.size()); rest > 0;
       rest = (rest - 1) / adjectives.size()) {
    pair = std::string(adjectives[(rest - 1) % adjectives.size()]) + "-" + pair;
  }
  return pair;
}

}  // namespace ropesweep::data
