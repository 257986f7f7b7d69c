// Conversations in the words of an instruction-tuned checkpoint: its chat template, a Jinja program
// (jinja.h), is rendered as transformers' apply_chat_template renders it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "worker/data/corpus.h"
#include "worker/data/jinja.h"

namespace ropesweep::data {

enum class Speaker { system, user, assistant };

struct Turn {
  Speaker speaker = Speaker::user;
  std::string text;
};

/// Questions and answers by turns, the first a question, the last an answer or a question.
struct Conversation {
  std::string system;  ///< empty: the template's own, if it has one
  std::string input;   ///< of an instruction: what it is about; empty: nothing
  std::vector<Turn> turns;
};

/// The turns with the input, after a blank line, in the first of them.
std::vector<Turn> with_input(const Conversation& conversation);

class ChatTemplate {
 public:
  /// A checkpoint's, with its BOS and EOS tokens. Errors: user error "WHAT: …; REMEDY" when it has
  /// none, or one that can't be rendered.
  ChatTemplate(const llama::Tokenizer& tokenizer, std::string_view what, std::string_view remedy);
  /// From its text; an empty token: there is none. Errors: those of jinja::Template.
  ChatTemplate(std::string_view source, std::string bos, std::string eos);

  /// Targets are the answers, each up to the marker that ends it: the EOS token or one in angle
  /// brackets. Where the template leaves the last answer without the marker that the others have
  /// (Qwen 1.5's), it is added, so that the end is learned. After a last question stands what the
  /// template opens an answer with. Encode without special tokens: the markers stand in the text.
  /// Errors: user error when the template refuses the conversation, or writes other answers than it
  /// is given (but for the spaces around them).
  Document write(const Conversation& conversation) const;

 private:
  std::string render(const std::string& system, const std::vector<Turn>& turns) const;
  std::vector<TextRange> answers(const std::string& text, const Conversation& conversation) const;
  size_t end_marker(std::string_view text) const;

  std::string inner_end() const;

  std::string bos_, eos_;
  jinja::Template template_;
  std::string end_;  ///< behind an answer that is not the last
};

}  // namespace ropesweep::data
