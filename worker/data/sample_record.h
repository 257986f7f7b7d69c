// Records of retrieval and question sets, read or built, as samples.
#pragma once

#include <string>

#include "worker/data/corpus.h"
#include "worker/data/record_reader.h"

namespace ropesweep::data {

/// lines:   prompt, expected_number (LongChat's layout); the location is the line's share of the
/// record
///          where random_idx and num_lines say it.
/// passkey: prompt, reference (text or integer), depth (0 to 1, may be missing).
/// wikiqa:  conversations[0].value (prompt), conversations[1].value (reference); the record's
/// number
///          mod 6 says where the answer stands, an odd one that the question stands at the start.
/// Errors: user error naming place and field; for another kind.
Sample sample_from_record(const std::string& kind, const Record& record, int64_t index);

}  // namespace ropesweep::data
