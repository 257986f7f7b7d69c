// Each rank its own questions, then an exchange of what was said.
#include "worker/tasks/answer_turns.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "worker/tasks/interruption.h"
#include "worker/tasks/thrift.h"

namespace ropesweep::tasks {

namespace {

void answer_alone(const Generation& g, AnswerBatch& batch) {
  while (!batch.ended()) {
    throw_if_stopped(g.context);
    batch.advance();
  }
}

/// With weights shared among ranks all make the same passes, until none has anything to say.
void answer_in_step(const Generation& g, AnswerBatch& batch) {
  const int32_t any_id = 0;
  llama::KvCache scratch(g.model.backend(), g.model.config(), g.model.weights().embedding.dtype(),
                         1);
  // Both are agreed on in one exchange a pass.
  constexpr double kStop = 1 << 20;
  for (;;) {
    const double said =
        g.share.sum((batch.ended() ? 0.0 : 1.0) + (stop_requested(g.context) ? kStop : 0.0));
    if (said >= kStop) throw Error(FailureKind::time, "stopped on request; run it again");
    if (said == 0) return;
    if (batch.ended()) {
      scratch.truncate(0);
      g.model.extend_greedily(scratch, std::span(&any_id, 1));
    } else {
      batch.advance();
    }
  }
}

/// What each rank said to its own questions, on every rank: those of others are told.
void exchange(const Generation& g, const std::vector<Generated>& answers,
              const OnAnswer& on_answer) {
  const auto count = static_cast<int64_t>(answers.size());
  const int64_t width = 1 + std::max<int64_t>(g.max_new_tokens, 0);
  std::vector<double> said;  // of each, the number of ids, then the ids
  for (int64_t i = g.share.rank(); i < count; i += g.share.size()) {
    const std::vector<int32_t>& ids = answers[static_cast<size_t>(i)].ids;
    const size_t end = said.size() + static_cast<size_t>(width);
    said.push_back(static_cast<double>(ids.size()));
    said.insert(said.end(), ids.begin(), ids.end());
    said.resize(end);
  }
  const std::vector<double> all = g.share.in_order(said, count, width);
  for (int64_t i = 0; i < count; ++i) {
    if (g.share.is_own(i)) continue;
    const auto first = all.begin() + i * width;
    Generated answer;
    for (int64_t id = 1; id <= static_cast<int64_t>(*first); ++id) {
      answer.ids.push_back(static_cast<int32_t>(first[id]));
    }
    answer.text = g.tokenizer.decode(answer.ids);
    on_answer(static_cast<size_t>(i), std::move(answer));
  }
}

}  // namespace

int64_t questions_a_round(const SampleShare& share) {
  return share.size() == 1 ? std::numeric_limits<int64_t>::max() : share.size() * backend::kFewRows;
}

void answer_in_turns(const Generation& g, std::span<const Question> questions,
                     const OnAnswer& on_answer) {
  const int64_t at_once = thrift() == Thrift::none ? 0 : 1;
  const bool sharded = g.model.parts().sharded();
  if (g.share.size() == 1) {
    AnswerBatch batch(g.model, g.tokenizer, questions, g.max_new_tokens, on_answer, at_once);
    return answer_alone(g, batch);
  }
  if (sharded && g.model.positions().depends_on_length()) {
    // A prompt that is fed as a whole takes as many passes as its length wants. All ranks feed the
    // same, one after the other: how many fit together is each one's own matter.
    AnswerBatch batch(g.model, g.tokenizer, questions, g.max_new_tokens, on_answer, 1);
    return answer_in_step(g, batch);
  }
  std::vector<size_t> numbers;
  std::vector<Question> own;
  for (size_t i = 0; i < questions.size(); ++i) {
    if (!g.share.is_own(static_cast<int64_t>(i))) continue;
    numbers.push_back(i);
    own.push_back(questions[i]);
  }
  std::vector<Generated> answers(questions.size());
  const auto keep = [&](size_t i, Generated answer) {
    answers[numbers[i]] = answer;
    on_answer(numbers[i], std::move(answer));
  };
  AnswerBatch batch(g.model, g.tokenizer, own, g.max_new_tokens, keep, at_once);
  sharded ? answer_in_step(g, batch) : answer_alone(g, batch);
  exchange(g, answers, on_answer);
}

}  // namespace ropesweep::tasks
