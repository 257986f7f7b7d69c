// Records to turns, turns to texts.
#include "worker/data/conversations.h"

#include <map>
#include <optional>

#include "experiments/error.h"

namespace ropesweep::data {
namespace {

// FastChat's system message of vicuna_v1.1.
constexpr std::string_view vicuna_system =
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives "
    "helpful, detailed, and polite answers to the user's questions.";

// Stanford Alpaca's prompts (train.py, PROMPT_DICT).
constexpr std::string_view alpaca_with_input =
    "Below is an instruction that describes a task, paired with an input that provides further "
    "context. Write a response that appropriately completes the request.\n\n";
constexpr std::string_view alpaca_without_input =
    "Below is an instruction that describes a task. Write a response that appropriately completes "
    "the request.\n\n";

std::optional<Speaker> speaker_of(const std::string& name) {
  static const std::map<std::string, Speaker> speakers = {
      {"human", Speaker::user},        {"user", Speaker::user},
      {"gpt", Speaker::assistant},     {"assistant", Speaker::assistant},
      {"chatgpt", Speaker::assistant}, {"bard", Speaker::assistant},
      {"bing", Speaker::assistant},    {"bot", Speaker::assistant},
      {"system", Speaker::system}};
  const auto found = speakers.find(name);
  return found == speakers.end() ? std::nullopt : std::optional(found->second);
}

/// The turns of a list of {`who`, `what`}.
Conversation read_turns(const Record& record, const std::string& list, const char* who,
                        const char* what) {
  if (!record.value()[list].is_array()) record.fail(list, "expected a list of turns");
  const size_t count = record.value()[list].size();
  Conversation conversation;
  std::vector<Turn>& turns = conversation.turns;
  for (size_t i = 0; i < count; ++i) {
    const std::string turn = fmt::format("{}.{}.", list, i);
    const std::optional<Speaker> speaker = speaker_of(record.text(turn + who));
    if (!speaker) record.fail(turn + who, "is no speaker: expected human, gpt or system");
    if (*speaker == Speaker::system) {
      if (!turns.empty()) record.fail(turn + who, "a system message stands first or not at all");
      conversation.system = record.text(turn + what);
      continue;
    }
    if (turns.empty() && *speaker == Speaker::assistant) continue;
    if (!turns.empty() && turns.back().speaker == *speaker) {
      record.fail(turn + who, "the same speaker twice: questions and answers must alternate");
    }
    turns.push_back({*speaker, record.text(turn + what)});
  }
  if (!turns.empty() && turns.back().speaker == Speaker::user) turns.pop_back();
  if (turns.empty()) record.fail(list, "holds no question with an answer");
  return conversation;
}

bool has_text(const nlohmann::json& value, const char* field) {
  const auto found = value.find(field);
  return found != value.end() &&
         !(found->is_string() && found->get_ref<const std::string&>().empty()) && !found->is_null();
}

}  // namespace

bool is_conversation(const Record& record) {
  const nlohmann::json& value = record.value();
  return value.contains("conversations") || value.contains("messages") ||
         value.contains("instruction");
}

Conversation read_conversation(const Record& record) {
  const nlohmann::json& value = record.value();
  if (value.contains("conversations")) return read_turns(record, "conversations", "from", "value");
  if (value.contains("messages")) return read_turns(record, "messages", "role", "content");
  if (!value.contains("instruction")) {
    record.fail("conversations", "is missing, and so are messages and instruction");
  }
  Conversation conversation;
  const char* const input = has_text(value, "input") ? "input" : "context";
  if (has_text(value, input)) conversation.input = record.text(input);
  const char* const output = value.contains("output") ? "output" : "response";
  conversation.turns = {{Speaker::user, record.text("instruction")},
                        {Speaker::assistant, record.text(output)}};
  return conversation;
}

ConversationWriter::ConversationWriter(std::string name, const llama::Tokenizer& tokenizer)
    : name_(std::move(name)) {
  if (name_ == "chat") {
    chat_ = std::make_shared<const ChatTemplate>(tokenizer, "conversations = \"chat\"",
                                                 "take vicuna or alpaca");
    return;
  }
  if (name_ != "vicuna" && name_ != "alpaca") {
    throw_user_error("conversations: '{}' is no template; choose from {}", name_,
                     fmt::join(kConversationTemplates, ", "));
  }
  if (tokenizer.eos_id() >= 0) eos_ = tokenizer.decode({tokenizer.eos_id()}, false);
  const std::vector<int32_t> ids = tokenizer.encode(eos_, false);
  if (eos_.empty() || ids.empty() || ids.back() != tokenizer.eos_id()) {
    throw_user_error(
        "conversations = \"{}\": each answer ends in the EOS token, and tokenizer_config.json "
        "names "
        "none",
        name_);
  }
}

Document ConversationWriter::write(const Conversation& conversation,
                                   const std::string& place) const {
  if (name_ == "vicuna") return write_vicuna(conversation);
  if (name_ == "alpaca") return write_alpaca(conversation, place);
  try {
    return chat_->write(conversation);
  } catch (const Error& error) {
    throw_user_error("{}: conversations: {}", place, error.what());
  }
}

Document ConversationWriter::write_vicuna(const Conversation& conversation) const {
  Document document;
  std::string& text = document.text;
  text = conversation.system.empty() ? vicuna_system : std::string_view(conversation.system);
  text += ' ';
  for (const Turn& turn : with_input(conversation)) {
    if (turn.speaker == Speaker::user) {
      text += "USER: " + turn.text + " ASSISTANT:";
      continue;
    }
    const size_t first = text.size();
    text += " " + turn.text + eos_;
    document.targets.push_back({first, text.size()});
  }
  return document;
}

Document ConversationWriter::write_alpaca(const Conversation& conversation,
                                          const std::string& place) const {
  if (conversation.turns.size() != 2 || !conversation.system.empty()) {
    throw_user_error(
        "{}: conversations: the alpaca template has one instruction and one answer, no more; take "
        "vicuna",
        place);
  }
  Document document;
  std::string& text = document.text;
  const bool with_input = !conversation.input.empty();
  text = with_input ? alpaca_with_input : alpaca_without_input;
  text += "### Instruction:\n" + conversation.turns[0].text;
  if (with_input) text += "\n\n### Input:\n" + conversation.input;
  text += "\n\n### Response:";
  const size_t first = text.size();
  text += conversation.turns[1].text + eos_;
  document.targets = {{first, text.size()}};
  return document;
}

}  // namespace ropesweep::data
