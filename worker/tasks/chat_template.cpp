// ChatML, recognised by its markers, with the default system message that the template spells out.
#include "worker/tasks/chat_template.h"

#include "experiments/error.h"

namespace ropesweep::tasks {

namespace {

constexpr std::string_view kStart = "<|im_start|>";
constexpr std::string_view kEnd = "<|im_end|>";

/// Jinja string literals spell a line break as backslash and n.
std::string with_line_breaks(std::string_view literal) {
  std::string text;
  for (size_t i = 0; i < literal.size(); ++i) {
    if (literal.substr(i, 2) == "\\n") {
      text += '\n';
      ++i;
    } else {
      text += literal[i];
    }
  }
  return text;
}

/// The system turn that the template writes when the conversation has none: a literal
/// `<|im_start|>system\n…<|im_end|>` whose words are plain text. Empty when there is none.
std::string default_system_turn(std::string_view chat_template) {
  const std::string opening = std::string(kStart) + "system";
  for (size_t at = chat_template.find(opening); at != std::string_view::npos;
       at = chat_template.find(opening, at + 1)) {
    const size_t end = chat_template.find(kEnd, at);
    if (end == std::string_view::npos) break;
    const std::string_view words =
        chat_template.substr(at + opening.size(), end - at - opening.size());
    // Quotes or braces: the literal ends there and a variable stands in it.
    if (words.find_first_of("'\"{}+") != std::string_view::npos) continue;
    return with_line_breaks(chat_template.substr(at, end + kEnd.size() - at)) + "\n";
  }
  return "";
}

}  // namespace

std::string apply_chat_template(std::string_view chat_template, std::string_view prompt) {
  if (chat_template.empty()) {
    throw_user_error(
        "instruction_template: the checkpoint has no chat_template in tokenizer_config.json; "
        "set it to false");
  }
  if (chat_template.find(kStart) == std::string_view::npos ||
      chat_template.find(kEnd) == std::string_view::npos) {
    throw_user_error(
        "instruction_template: the checkpoint's chat template is not of the ChatML family "
        "(<|im_start|> … <|im_end|>), the only one known; set it to false");
  }
  std::string text = default_system_turn(chat_template);
  text.append(kStart).append("user\n").append(prompt).append(kEnd).append("\n");
  text.append(kStart).append("assistant\n");
  return text;
}

}  // namespace ropesweep::tasks
