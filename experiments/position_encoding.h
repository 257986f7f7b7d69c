// From a scheme's name to the table that enters attention. Every rotary scheme is a table of angles
// φ(m, i) and two amplitudes a_q(m, i), a_k(m, i): a query pair is rotated by φ and multiplied by
// a_q, a key pair by φ and a_k. Angles are built in double precision and rounded once.
//
// Letters: d head dimension (even) · i pair index 0 … d/2−1 · b base · θ_i = b^(−2i/d)
//          L0 original (pre-training) length · s scale · m position · L current sequence length
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "experiments/attention_rule.h"

namespace ropesweep {

/// The checkpoint's own rotary geometry, what every scheme starts from.
struct RotaryShape {
  int64_t head_dim = 128;         ///< d
  double base = 10000.0;          ///< b
  double original_length = 4096;  ///< L0, tokens
  /// Share of a head's elements that the model rotates (partial_rotary_factor): schemes see
  /// ⌊share·d⌋ as their dimension.
  double rotary_fraction = 1;
  /// The checkpoint's own `longrope` factors λ_i, [⌊share·d⌋/2] each; empty: it has none.
  std::vector<double> short_factor = {}, long_factor = {};
  double attention_factor = 0;  ///< its own μ beside them; 0: by the scheme's formula
};

/// A frequency map: φ(m, i) = m · inv_freq[i], constant amplitudes. With fewer than d/2 pairs the
/// elements past 2·pairs are not rotated (`partial`).
/// A scheme whose amplitudes vary with m overrides `PositionEncoding::table_at` instead.
struct FrequencyMap {
  std::vector<double> inv_freq;  ///< [pairs] θ'_i, radians per token
  double query_amplitude = 1.0;  ///< a_q
  double key_amplitude = 1.0;    ///< a_k
};

/// cos and sin of φ(m, i) with the amplitudes multiplied in; row-major [rows, pairs].
struct RotaryTable {
  int64_t rows = 0;
  int64_t pairs = 0;
  std::vector<float> query_cos, query_sin;  ///< a_q·cos φ, a_q·sin φ
  std::vector<float> key_cos, key_sin;      ///< a_k·cos φ, a_k·sin φ
};

/// A scheme written as a call: `yarn`, `power(0.5)`, `dynamic-ntk(factor=2)`, `resonance(yarn)`.
struct SchemeCall {
  std::string name;
  std::vector<std::string> positional;       ///< arguments without a name, in order
  std::map<std::string, std::string> named;  ///< option → value
};

/// Parses a scheme's text. Errors: user error with the place of the first character that does not
/// fit.
SchemeCall parse_scheme_call(std::string_view text);

/// One scheme at one scale over one rotary shape. Immutable; safe to share between threads.
class PositionEncoding {
 public:
  virtual ~PositionEncoding() = default;

  /// θ' for a sequence of `length` tokens. Static schemes ignore `length`.
  virtual FrequencyMap map(int64_t length) const = 0;

  /// True when the map depends on the current length (dynamic-ntk, …): keys must then be cached
  /// before rotation, and truncated lengths can't share one pass.
  virtual bool depends_on_length() const { return false; }

  /// What attention does; the plain rule where tokens are rotated by their own positions and see
  /// all before them.
  virtual const AttentionRule& attention_rule() const;

  /// Rows for positions first … first + rows − 1 of a sequence of `length` tokens.
  RotaryTable table(int64_t first, int64_t rows, int64_t length) const;
  /// Rows for any positions, which need not be whole.
  virtual RotaryTable table_at(std::span<const double> positions, int64_t length) const;

  /// The positions that step `step` (from 1) of a fine-tune trains with, where they change from
  /// step to step; null: these, at every step. Evaluation is always under these.
  virtual std::shared_ptr<const PositionEncoding> at_step(int64_t step) const;

  /// Positions that a training sequence of `tokens` has in place of 0, 1, 2, …, by its number among
  /// all of a fine-tune; empty: those.
  virtual std::vector<double> training_positions(int64_t tokens, uint64_t seed,
                                                 int64_t sequence) const;

  const std::string& scheme() const { return scheme_; }  ///< canonical text, e.g. "power(0.5)"
  double scale() const { return scale_; }
  const RotaryShape& shape() const { return shape_; }

 protected:
  PositionEncoding(std::string scheme, double scale, RotaryShape shape);

 private:
  std::string scheme_;
  double scale_;
  RotaryShape shape_;
};

/// What the registry knows of a scheme (`ropesweep encoding --list`).
struct SchemeInfo {
  std::string name;
  std::string summary;               ///< one line, with the source (paper)
  std::vector<std::string> options;  ///< "beta_fast=32: …"
  bool takes_scale = true;  ///< false: the scale axes collapse (none, power, truncated, …)
};
const std::vector<SchemeInfo>& all_schemes();

/// The canonical text of a scheme: name, then the options that differ from their defaults, in the
/// registry's order. Two texts of one meaning have one canonical text.
/// Paths in it are absolute.
/// Errors: unknown scheme or option (user error with the nearest known name).
std::string canonical_scheme(std::string_view text);

/// From a path as a scheme's text has it to the one that its canonical text shall have.
using PathRule = std::function<std::string(const std::string&)>;
/// The same with paths by another rule: relative to a sweep file, or their contents' digests.
std::string canonical_scheme(std::string_view text, const PathRule& path_rule);

/// The files that a scheme reads, absolute (`file(PATH)`, `longrope(file=PATH)`).
std::vector<std::string> scheme_files(std::string_view text);

/// The scheme that this one is at scale 1: `none` for `yarn`, `resonance` for `resonance(yarn)`,
/// `power(0.5)` for `power(0.5, scaled=true)`; itself where the scale means nothing, or where
/// positions differ from the base model's at scale 1 too. Canonical.
std::string scheme_at_scale_one(std::string_view text);

/// Whether the scale axes mean anything to this scheme (false for `none`, `power(0.5)`,
/// `truncated(2048)`, `dynamic-ntk(factor=2)`).
bool scheme_takes_scale(std::string_view text);

/// The same positions whatever the length (the opposite of depends_on_length), without building.
bool scheme_is_static(std::string_view text);

/// How tables are computed: in double, rounded once; or with float32 arithmetic in transformers'
/// order.
enum class TableArithmetic { exact, hugging_face };

/// Builds the encoding; a scheme's files are read now. Scale 1 of a static scheme that takes a
/// scale is `scheme_at_scale_one`, to the bit. Errors: user error for an unknown scheme, a bad
/// option, a file that can't be read, a scale below 1 or an odd head dimension.
std::shared_ptr<const PositionEncoding> make_position_encoding(
    std::string_view scheme, double scale, const RotaryShape& shape,
    TableArithmetic arithmetic = TableArithmetic::exact);

}  // namespace ropesweep
