// Prompt → cache → greedy tokens.
#include "worker/tasks/generation.h"

#include <utility>

#include "worker/tasks/answer_batch.h"
#include "worker/tasks/chat_template.h"
#include "worker/tasks/interruption.h"

namespace ropesweep::tasks {

Generated generate(llama::Model& model, const llama::Tokenizer& tokenizer,
                   std::span<const int32_t> prompt, int64_t max_new_tokens, const Decided& decided,
                   const TaskContext& context) {
  Generated generated;
  const std::vector<Question> only = {{{prompt.begin(), prompt.end()}, decided}};
  AnswerBatch batch(model, tokenizer, only, max_new_tokens,
                    [&](size_t, Generated answer) { generated = std::move(answer); });
  while (!batch.ended()) {
    throw_if_stopped(context);
    batch.advance();
  }
  return generated;
}

std::vector<int32_t> encode_prompt(const llama::Tokenizer& tokenizer,
                                   const DatasetSettings& settings, const std::string& prompt) {
  if (settings.instruction_template) {
    return tokenizer.encode(apply_chat_template(tokenizer, prompt), false);
  }
  if (settings.bos == "auto") return tokenizer.encode(prompt);
  std::vector<int32_t> ids = tokenizer.encode(prompt, false);
  if (settings.bos == "yes") {
    if (tokenizer.bos_id() < 0) {
      throw_user_error(
          "bos = yes, but tokenizer_config.json names no bos_token; choose auto or no");
    }
    ids.insert(ids.begin(), tokenizer.bos_id());
  }
  return ids;
}

}  // namespace ropesweep::tasks
