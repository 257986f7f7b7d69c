// Conversations for training: records of ShareGPT, Vicuna, Alpaca and Dolly, and the templates that
// they are written in. Only the answers are targets, each with the token that ends it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "worker/data/chat_template.h"
#include "worker/data/corpus.h"
#include "worker/data/record_reader.h"
#include "worker/llama/tokenizer.h"

namespace ropesweep::data {

/// A record: `conversations` of {from, value} (human | user, gpt | assistant | chatgpt | bard |
/// bing | bot, system), `messages` of {role, content}, or `instruction` with `input` or `context`,
/// and `output` or `response`. As FastChat does it, what stands before the first question is left
/// out, but for a system message; what follows the last answer is, too. Errors: user error "PLACE:
/// FIELD: what" for missing or empty fields, unknown speakers, turns that don't alternate, or no
/// answer.
Conversation read_conversation(const Record& record);
/// Whether a record has any of these fields; else it is a text, all of which is learned.
bool is_conversation(const Record& record);

/// Writes conversations as texts, the answers' ranges being targets.
///   vicuna  FastChat's vicuna_v1.1: "SYSTEM USER: q ASSISTANT: a</s>USER: …", </s> being the
///           tokenizer's EOS token
///   alpaca  Stanford Alpaca's prompt, of one instruction with or without input, then the answer
///   and
///           EOS
///   chat    the checkpoint's own chat template (chat_template.h)
class ConversationWriter {
 public:
  /// Errors: user error for another template, or when the tokenizer lacks what it needs: an EOS
  /// token, or a chat template that can be rendered.
  ConversationWriter(std::string name, const llama::Tokenizer& tokenizer);

  /// Errors: user error naming `place` where the template has no words for the conversation.
  Document write(const Conversation& conversation, const std::string& place) const;

 private:
  Document write_vicuna(const Conversation& conversation) const;
  Document write_alpaca(const Conversation& conversation, const std::string& place) const;

  std::string name_, eos_;
  std::shared_ptr<const ChatTemplate> chat_;
};

}  // namespace ropesweep::data
