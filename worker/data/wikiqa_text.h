// A question over a synthetic document: what the builder of test records and that of training text
// share.
#pragma once

#include <cstdint>
#include <string>

#include "worker/data/random.h"
#include "worker/data/wiki_writer.h"
#include "worker/llama/tokenizer.h"

namespace ropesweep::data {

enum class AnswerPlace { start, bulk, end };  ///< first 10 %, between, last 10 % of the document

struct WikiQuestion {
  std::string prompt;  ///< ends in "A:"
  std::string answer;  ///< its only occurrence in the prompt is the sentence that states it
  int64_t tokens = 0;  ///< of the prompt
};

/// A document that fills the prompt to nearly `limit` tokens, with one fact stated once at `place`
/// and asked for at the document's start or end. Errors: user error when `limit` is too short.
WikiQuestion make_wiki_question(Random random, const llama::Tokenizer& tokenizer, int64_t limit,
                                AnswerPlace place, bool question_first);

/// A fact of a new entity whose answer stands nowhere in the document; `numeric`: a number.
Fact fact_outside(WikiWriter& writer, const std::string& document, bool numeric = false);

/// The placement of record `index`, as the published WikiQA orders its rows: index mod 6 → answer
/// at start (0, 1), random (2, 3), end (4, 5); odd index → question at the start.
inline AnswerPlace answer_place_of(int64_t index) {
  return static_cast<AnswerPlace>(index % 6 / 2);
}
inline bool question_first_of(int64_t index) { return index % 2 == 1; }

}  // namespace ropesweep::data
