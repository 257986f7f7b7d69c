// A question a rank, then an exchange of what was said.
#include "worker/tasks/answer_turns.h"

#include <algorithm>
#include <optional>

namespace ropesweep::tasks {

namespace {

/// With weights shared among ranks all make the same passes, until none has anything to say.
Generated generate_in_step(const Generation& g, const Question* own) {
  std::optional<Continuation> continuation;
  if (own != nullptr) {
    continuation.emplace(g.model, g.tokenizer, own->prompt, g.max_new_tokens, own->decided);
  }
  const int32_t any_id = 0;
  llama::KvCache scratch(g.model.backend(), g.model.config(), g.model.weights().embedding.dtype(),
                         1);
  const auto unfinished = [&] { return continuation && !continuation->ended(); };
  while (g.share.any(unfinished())) {
    if (unfinished()) {
      continuation->advance();
    } else {
      scratch.truncate(0);
      g.model.extend_greedily(scratch, std::span(&any_id, 1));
    }
  }
  return continuation ? continuation->generated() : Generated();
}

}  // namespace

std::vector<Generated> generate_in_turns(const Generation& g,
                                         const std::vector<Question>& questions) {
  const auto generated = [&](const Question& question, const TaskContext& context) {
    return generate(g.model, g.tokenizer, question.prompt, g.max_new_tokens, question.decided,
                    context);
  };
  if (g.share.size() == 1) return {generated(questions.at(0), g.context)};
  const bool sharded = g.model.parts().sharded();
  std::vector<Generated> answers(questions.size());
  if (sharded && g.model.positions().depends_on_length()) {
    // A prompt is fed as a whole, in as many passes as its length takes: all ranks feed the same.
    std::transform(questions.begin(), questions.end(), answers.begin(),
                   [&](const Question& question) { return generated(question, {}); });
    return answers;
  }
  const auto rank = static_cast<size_t>(g.share.rank());
  const Question* const own = rank < questions.size() ? &questions[rank] : nullptr;
  std::vector<double> said;  // the number of ids, then the ids
  const int64_t width = 1 + std::max<int64_t>(g.max_new_tokens, 0);
  if (own != nullptr || sharded) {
    const Generated answer = sharded ? generate_in_step(g, own) : generated(*own, g.context);
    if (own != nullptr) {
      said.push_back(static_cast<double>(answer.ids.size()));
      said.insert(said.end(), answer.ids.begin(), answer.ids.end());
      said.resize(static_cast<size_t>(width));
    }
  }
  const auto all = g.share.in_order(said, static_cast<int64_t>(questions.size()), width);
  for (size_t i = 0; i < answers.size(); ++i) {
    const auto first = all.begin() + static_cast<std::ptrdiff_t>(i) * width;
    for (int64_t id = 1; id <= static_cast<int64_t>(*first); ++id) {
      answers[i].ids.push_back(static_cast<int32_t>(first[id]));
    }
    answers[i].text = g.tokenizer.decode(answers[i].ids);
  }
  return answers;
}

}  // namespace ropesweep::tasks
