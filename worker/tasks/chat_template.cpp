// One question in a checkpoint's chat template.
#include "worker/tasks/chat_template.h"

#include "experiments/error.h"
#include "worker/data/chat_template.h"

namespace ropesweep::tasks {

std::string apply_chat_template(const llama::Tokenizer& tokenizer, std::string_view prompt,
                                std::string_view system) {
  constexpr const char *what = "instruction_template", *remedy = "set it to false";
  const data::ChatTemplate chat(tokenizer, what, remedy);
  data::Conversation conversation;
  conversation.system = system;
  conversation.turns = {{data::Speaker::user, std::string(prompt)}};
  try {
    return chat.write(conversation).text;
  } catch (const Error& error) {
    throw_user_error("{}: {}; {}", what, error.what(), remedy);
  }
}

}  // namespace ropesweep::tasks
