// What a template is given, and where in its text the answers are.
#include "worker/data/chat_template.h"

#include <array>
#include <utility>

#include "experiments/error.h"
#include "worker/data/python_text.h"

namespace ropesweep::data {
namespace {

constexpr std::array<const char*, 3> names = {"system", "user", "assistant"};

std::string token_text(const llama::Tokenizer& tokenizer, int32_t id) {
  return id < 0 ? "" : tokenizer.decode({id}, false);
}

jinja::Value message(Speaker speaker, const std::string& text) {
  return jinja::Map{{"role", names[static_cast<size_t>(speaker)]}, {"content", text}};
}

const std::string& source_of(const llama::Tokenizer& tokenizer) {
  if (tokenizer.chat_template().empty()) {
    throw_user_error("the checkpoint has no chat_template in tokenizer_config.json");
  }
  return tokenizer.chat_template();
}

/// A mark that occurs nowhere in `text`, of characters for private use.
std::string unused_mark(const std::string& text) {
  std::string mark = "\uE000";
  while (text.find(mark) != std::string::npos) mark += "\uE000";
  return mark;
}

}  // namespace

std::vector<Turn> with_input(const Conversation& conversation) {
  std::vector<Turn> turns = conversation.turns;
  if (!conversation.input.empty() && !turns.empty()) turns[0].text += "\n\n" + conversation.input;
  return turns;
}

ChatTemplate::ChatTemplate(std::string_view source, std::string bos, std::string eos)
    : bos_(std::move(bos)), eos_(std::move(eos)), template_(source), end_(inner_end()) {}

std::string ChatTemplate::inner_end() const {
  const std::string answer = "Answer";
  try {
    const std::string text = render(
        "",
        {{Speaker::user, "Question"}, {Speaker::assistant, answer}, {Speaker::user, "Question"}});
    const size_t at = text.find(answer);
    if (at == std::string::npos) return "";
    const std::string behind = text.substr(at + answer.size());
    return behind.substr(0, end_marker(behind));
  } catch (const Error&) {  // for one question only: there are no answers
    return "";
  }
}

ChatTemplate::ChatTemplate(const llama::Tokenizer& tokenizer, std::string_view what,
                           std::string_view remedy) try
    : ChatTemplate(source_of(tokenizer), token_text(tokenizer, tokenizer.bos_id()),
                   token_text(tokenizer, tokenizer.eos_id())) {
  // What isn't known in it shows before anything else is done.
  if (render("", {{Speaker::user, "Question"}}).find("Question") == std::string::npos) {
    throw_user_error("the checkpoint's chat template doesn't write the messages it is given");
  }
} catch (const Error& error) {
  throw_user_error("{}: {}; {}", what, error.what(), remedy);
}

std::string ChatTemplate::render(const std::string& system, const std::vector<Turn>& turns) const {
  jinja::List messages;
  if (!system.empty()) messages.push_back(message(Speaker::system, system));
  for (const Turn& turn : turns) messages.push_back(message(turn.speaker, turn.text));
  jinja::Map variables = {
      {"messages", std::move(messages)},
      {"tools", jinja::Value()},
      {"documents", jinja::Value()},
      {"add_generation_prompt", !turns.empty() && turns.back().speaker == Speaker::user}};
  if (!bos_.empty()) variables.emplace_back("bos_token", bos_);
  if (!eos_.empty()) variables.emplace_back("eos_token", eos_);
  return template_.render(std::move(variables));
}

Document ChatTemplate::write(const Conversation& conversation) const {
  Document document;
  document.text = render(conversation.system, with_input(conversation));
  document.targets = answers(document.text, conversation);
  const bool unended = !conversation.turns.empty() &&
                       conversation.turns.back().speaker == Speaker::assistant && !end_.empty() &&
                       document.targets.back().end == document.text.size() &&
                       !document.text.ends_with(end_);
  if (unended) {
    document.text += end_;
    document.targets.back().end = document.text.size();
  }
  return document;
}

/// The same conversation with a mark in place of each answer shows what stands between the answers;
/// between the same pieces of the text stand the answers themselves.
std::vector<TextRange> ChatTemplate::answers(const std::string& text,
                                             const Conversation& conversation) const {
  std::vector<Turn> turns = with_input(conversation);
  std::vector<std::string> given;
  const std::string mark = unused_mark(text);
  for (Turn& turn : turns) {
    if (turn.speaker == Speaker::assistant) given.push_back(std::exchange(turn.text, mark));
  }
  std::vector<TextRange> ranges;
  if (given.empty()) return ranges;
  const std::string marked = render(conversation.system, turns);
  size_t at = marked.find(mark), in_text = 0, behind = 0;
  for (const std::string& answer : given) {
    if (at == std::string::npos) break;
    const size_t gap = at - behind;
    const size_t next = marked.find(mark, at + mark.size());
    const std::string_view after =
        std::string_view(marked).substr(at + mark.size(), next - at - mark.size());
    if (text.compare(in_text, gap, marked, behind, gap) != 0) break;
    in_text += gap;
    behind = at + mark.size();
    at = next;
    const std::string_view rest = std::string_view(text).substr(in_text);
    for (const std::string_view written : {std::string_view(answer), python_stripped(answer)}) {
      if (!rest.starts_with(written) || !rest.substr(written.size()).starts_with(after)) continue;
      ranges.push_back({in_text, in_text + written.size() + end_marker(after)});
      in_text += written.size();
      break;
    }
  }
  if (ranges.size() != given.size() || at != std::string::npos) {
    throw_user_error(
        "the chat template doesn't write each answer once, as it is: there is no telling what is "
        "to be learned");
  }
  return ranges;
}

/// The bytes up to the end of the marker that the text behind an answer begins with; 0: none.
size_t ChatTemplate::end_marker(std::string_view text) const {
  const size_t first = std::min(text.find_first_not_of(" \n"), text.size());
  const std::string_view marker = text.substr(first);
  if (!eos_.empty() && marker.starts_with(eos_)) return first + eos_.size();
  const size_t end = marker.find_first_of("> \n<", 1);
  const bool is_marker =
      marker.starts_with('<') && end != std::string_view::npos && marker[end] == '>';
  return is_marker ? first + end + 1 : 0;
}

}  // namespace ropesweep::data
