// What attention does under a scheme beyond rotating each query and key by its own position: which
// keys a query sees, at which positions both are rotated for them, what is added to the scores, and
// what is added to the embeddings. Schemes say it here, once; the engine carries it out.
//
// The keys are cut into parts, each with rotations of its own. A query's softmax runs over the keys
// of all parts; the parts don't overlap, and the first one has the query's own token.
//
// Letters: m position of a query · n of a key · j = m − n their distance · H heads · D model width
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

namespace ropesweep {

/// As good as infinite for distances and positions.
inline constexpr int64_t kEveryKey = int64_t{1} << 60;

/// The position that stands for p in a rotation: min(factor · ⌊(p mod modulus) / group⌋ + offset,
/// most). As it stands, p itself.
struct PositionMap {
  double factor = 1;
  double offset = 0;
  int64_t group = 1;
  int64_t modulus = kEveryKey;
  double most = std::numeric_limits<double>::infinity();

  double at(int64_t position) const;
  bool operator==(const PositionMap&) const = default;
  /// One position for all.
  static PositionMap constant(double position) { return {.factor = 0, .offset = position}; }
};

/// Of a sequence cut into chunks, the keys in the query's own chunk (the causal ones), in the one
/// before it, or in those before that.
enum class KeyChunks { all, same, previous, older };

/// Some of a query's keys: n < first_keys, nearest ≤ j < farthest, and of `chunks`.
struct AttentionPart {
  int64_t nearest = 0;
  int64_t farthest = kEveryKey;
  int64_t first_keys = kEveryKey;
  KeyChunks chunks = KeyChunks::all;
  PositionMap query = {};
  PositionMap key = {};
};

/// What is added to the scores of a head at a distance.
enum class DistanceBias { none, alibi, t5 };

/// Vectors that are added to the embeddings, by position.
enum class AddedPositions { none, sinusoidal, learned };

struct AttentionRule {
  std::vector<AttentionPart> parts = std::vector<AttentionPart>(1);
  int64_t chunk = 0;  ///< tokens of a chunk, where parts go by chunks
  /// ≥ 2: queries are multiplied by max(1, ln(m + 1) / ln of this) (Su 2023); 0: they are not.
  int64_t logarithmic_from = 0;
  DistanceBias bias = DistanceBias::none;
  int64_t buckets = 0, max_distance = 0;  ///< of t5
  AddedPositions added = AddedPositions::none;
  int64_t table_rows = 0;    ///< positions that `learned` has vectors for
  bool f32_scores = false;   ///< queries, keys and values are widened before they are rotated
  bool interleaved = false;  ///< pair i is elements 2i and 2i + 1, not i and i + K/2

  /// What is nothing but rotation by a token's own position.
  bool is_plain() const;
  double query_amplitude(int64_t position) const;
};

/// Parts of all keys, those at distances below `window` as they are, the farther ones by `query`
/// and `key`: what ReRoPE and self-extend are.
std::vector<AttentionPart> near_and_far(int64_t window, const PositionMap& query,
                                        const PositionMap& key);

/// ALiBi's slopes, 2^(−8h/H) for h = 1 … H (Press et al. 2021). Where H is no power of two, as in
/// the released code: those of the power P below it, then every other one of 2P.
std::vector<double> alibi_slopes(int64_t heads);

/// T5's bucket of a distance ≥ 0 (Raffel et al. 2020): half of the buckets hold one distance each,
/// the other half grow logarithmically up to max_distance; the last holds all beyond.
int64_t t5_bucket(int64_t distance, int64_t buckets, int64_t max_distance);

/// The least distance from which on all are in the last bucket.
int64_t t5_reach(int64_t buckets, int64_t max_distance);

/// [rows, width] from position `first` on (Vaswani et al. 2017, section 3.5): element 2i is
/// sin(p / 10000^(2i/D)), element 2i + 1 the cosine of the same.
std::vector<float> sinusoidal_vectors(int64_t first, int64_t rows, int64_t width);

}  // namespace ropesweep
