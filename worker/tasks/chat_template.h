// Prompts in the words of an instruction-tuned checkpoint (worker/data/chat_template.h).
#pragma once

#include <string>
#include <string_view>

#include "worker/llama/tokenizer.h"

namespace ropesweep::tasks {

/// `prompt` as the user's turn, after a system message unless that is empty, followed by the
/// opening of the assistant's, in the checkpoint's chat template. Encode without special tokens:
/// the markers stand in the text. Errors: user error when there is no template, or one that can't
/// be rendered or refuses this.
std::string apply_chat_template(const llama::Tokenizer& tokenizer, std::string_view prompt,
                                std::string_view system = "");

}  // namespace ropesweep::tasks
