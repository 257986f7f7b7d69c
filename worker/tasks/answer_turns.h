// Questions that the ranks of a group answer in turns.
#pragma once

#include <cstdint>
#include <vector>

#include "worker/tasks/generation.h"
#include "worker/tasks/sample_share.h"

namespace ropesweep::tasks {

/// A prompt of a sample and when its answer is given.
struct Question {
  std::vector<int32_t> prompt;
  Decided decided;
};

/// Where a group's ranks generate, and what for.
struct Generation {
  llama::Model& model;
  const llama::Tokenizer& tokenizer;
  const SampleShare& share;
  int64_t max_new_tokens;
  const TaskContext& context;
};

/// The greedy answers to at most group-size questions, each by the rank of its number, on every
/// rank: the texts of one rank. All ranks call it, with the same questions. Errors: as generate's.
std::vector<Generated> generate_in_turns(const Generation& generation,
                                         const std::vector<Question>& questions);

}  // namespace ropesweep::tasks
