// Whether a generated text answers a sample: pure functions over text, as the published scripts
// score.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "experiments/settings.h"
#include "worker/data/corpus.h"

namespace ropesweep::tasks {

/// The digits of the first or last integer of `text` (runs of ASCII digits, as LongChat's `\d+`),
/// without leading zeros; nothing when there is none. A sign or a separator is no part of it.
std::optional<std::string> first_integer(std::string_view text);
std::optional<std::string> last_integer(std::string_view text);

/// Without white space at both ends.
std::string_view stripped(std::string_view text);

/// Presence accuracy (Giraffe, WikiQA): the stripped reference is a substring of the text,
/// case-sensitive: "19" inside "1987" counts. An empty reference is never present.
bool is_present(std::string_view text, std::string_view reference);
/// The same, with no letter, digit or underscore next to it on either side where it begins or ends
/// with one.
bool is_present_as_word(std::string_view text, std::string_view reference);

/// What a sample's text scored.
struct Score {
  bool hit = false;
  bool word_boundary = false;  ///< wikiqa only; elsewhere the same as `hit`
};

/// Kinds: lines (`settings.which` integer equals the reference's), passkey (first integer), wikiqa
/// (presence).
Score score_text(const DatasetSettings& settings, std::string_view text,
                 std::string_view reference);

/// True when no continuation of `text` can change its score, so that generation may end: the first
/// integer is complete (a character that is no digit follows), or the reference stands there as a
/// word.
bool is_decided(const DatasetSettings& settings, std::string_view text, std::string_view reference);

/// The bin of a location in the measures `accuracy@LOCATION`: a depth 0 … 1 by tenths ("0.3" holds
/// 0.30 to 0.39…; 1 falls into "0.9"), any other text as it is.
std::string location_bin(const std::string& location);

}  // namespace ropesweep::tasks
