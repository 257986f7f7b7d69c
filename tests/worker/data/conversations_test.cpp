// Conversations: records of each layout, the published templates word for word, and which tokens
// are learned.
#include "worker/data/conversations.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/temporary_folder.h"
#include "tests/user_error.h"
#include "worker/data/tokenize_documents.h"
#include "worker/data/training_chunks.h"

namespace ropesweep::data {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// As SmolLM2-135M-Instruct has it.
const char* const smollm2 =
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ "
    "'<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging "
    "Face<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] "
    "+ '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ "
    "'<|im_start|>assistant\n' }}{% endif %}";
/// Characters, but for "</s>", which is one token, the EOS.
class CharacterTokenizer : public llama::Tokenizer {
 public:
  explicit CharacterTokenizer(std::string chat_template = "") {
    eos_id_ = 256;
    chat_template_ = std::move(chat_template);
  }
  std::vector<int32_t> encode(std::string_view text, bool /*special*/) const override {
    std::vector<int32_t> ids;
    while (!text.empty()) {
      const bool ends = text.starts_with("</s>");
      ids.push_back(ends ? 256 : static_cast<unsigned char>(text[0]));
      text.remove_prefix(ends ? 4 : 1);
    }
    return ids;
  }
  std::string decode(const std::vector<int32_t>& ids, bool /*skip*/) const override {
    std::string text;
    for (const int32_t id : ids) text += id == 256 ? "</s>" : std::string(1, static_cast<char>(id));
    return text;
  }
  int64_t vocabulary() const override { return 257; }
  int32_t id_of(std::string_view) const override { return -1; }
};

Conversation read(const std::string& json) {
  return read_conversation({nlohmann::json::parse(json), "f.json:3"});
}

Document written(const std::string& name, const std::string& json,
                 const std::string& chat_template = "") {
  const CharacterTokenizer tokenizer(chat_template);
  return ConversationWriter(name, tokenizer).write(read(json), "f.json:3");
}

std::vector<std::string> answers(const Document& document) {
  std::vector<std::string> texts;
  for (const auto& [first, end] : document.targets) {
    texts.push_back(document.text.substr(first, end - first));
  }
  return texts;
}

const char* const two_rounds =
    R"({"id": "a", "conversations": [{"from": "human", "value": "Hi"},
        {"from": "gpt", "value": "Hello!"}, {"from": "human", "value": "Why?"},
        {"from": "gpt", "value": "Because."}]})";

// The text is what FastChat 0.2.36 writes for these turns, and its preprocess learns the same: from
// behind "ASSISTANT:" to the "</s>".
TEST(Conversations, VicunaIsFastChats) {
  const Document document = written("vicuna", two_rounds);
  EXPECT_EQ(document.text,
            "A chat between a curious user and an artificial intelligence assistant. The assistant "
            "gives helpful, detailed, and polite answers to the user's questions. USER: Hi "
            "ASSISTANT: Hello!</s>USER: Why? ASSISTANT: Because.</s>");
  EXPECT_THAT(answers(document), ElementsAre(" Hello!</s>", " Because.</s>"));
}

// What transformers 5.23's apply_chat_template gives for these templates and turns.
TEST(Conversations, ChatIsTheCheckpointsOwnTemplate) {
  const Document document = written("chat", two_rounds, smollm2);
  EXPECT_EQ(document.text,
            "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging "
            "Face<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello!"
            "<|im_end|>\n<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\nBecause."
            "<|im_end|>\n");
  EXPECT_THAT(answers(document), ElementsAre("Hello!<|im_end|>", "Because.<|im_end|>"));
  const char* const refuses =
      "{{ messages[0].content }}{% if messages | length > 2 %}{{ "
      "raise_exception('too long') }}{% endif %}";
  EXPECT_THAT(
      user_error_of([&] { written("chat", two_rounds, refuses); }),
      HasSubstr("f.json:3: conversations: chat template, line 1: the template refuses this"));
}

// Stanford Alpaca's PROMPT_DICT, and what its train.py masks.
TEST(Conversations, AlpacaAndDolly) {
  const Document alpaca =
      written("alpaca", R"({"instruction": "Add.", "input": "1 and 2", "output": "3"})");
  EXPECT_EQ(alpaca.text,
            "Below is an instruction that describes a task, paired with an input that provides "
            "further context. Write a response that appropriately completes the request.\n\n### "
            "Instruction:\nAdd.\n\n### Input:\n1 and 2\n\n### Response:3</s>");
  EXPECT_THAT(answers(alpaca), ElementsAre("3</s>"));
  const Document dolly = written(
      "alpaca",
      R"({"instruction": "Name a colour.", "context": "", "response": "Red", "category": "c"})");
  EXPECT_EQ(dolly.text,
            "Below is an instruction that describes a task. Write a response that appropriately "
            "completes the request.\n\n### Instruction:\nName a colour.\n\n### Response:Red</s>");
  // In the other templates the input follows the instruction.
  EXPECT_THAT(
      written("vicuna", R"({"instruction": "Add.", "context": "1, 2", "response": "3"})").text,
      HasSubstr("USER: Add.\n\n1, 2 ASSISTANT: 3</s>"));
  EXPECT_THAT(user_error_of([] { written("alpaca", two_rounds); }),
              HasSubstr("f.json:3: conversations: the alpaca template has one instruction"));
}

TEST(Conversations, WhatSurroundsQuestionsAndAnswersIsLeftOut) {
  const Conversation conversation = read(R"({"conversations": [{"from": "gpt", "value": "lost"},
      {"from": "user", "value": "q"}, {"from": "chatgpt", "value": "a"},
      {"from": "human", "value": "unanswered"}]})");
  ASSERT_EQ(conversation.turns.size(), 2u);
  EXPECT_EQ(conversation.turns[1].text, "a");
}

TEST(Conversations, MalformedRecordsNameTheField) {
  const auto error = [](const std::string& json) { return user_error_of([&] { read(json); }); };
  EXPECT_THAT(error("{}"), HasSubstr("f.json:3: conversations: is missing"));
  EXPECT_THAT(error(R"({"conversations": [{"from": "human"}]})"),
              HasSubstr("f.json:3: conversations.0.value: is missing"));
  EXPECT_THAT(error(R"({"conversations": [{"from": "cat", "value": "m"}]})"),
              HasSubstr("conversations.0.from: is no speaker"));
  EXPECT_THAT(error(R"({"conversations": [{"from": "human", "value": "a"},
                        {"from": "user", "value": "b"}]})"),
              HasSubstr("conversations.1.from: the same speaker twice"));
  EXPECT_THAT(error(R"({"conversations": [{"from": "human", "value": "a"}]})"),
              HasSubstr("holds no question with an answer"));
  EXPECT_THAT(error(R"({"instruction": "a"})"), HasSubstr("response: is missing"));
}

TEST(Conversations, NeedWhatTheirTemplateNeeds) {
  class NoEos : public CharacterTokenizer {
   public:
    NoEos() { eos_id_ = -1; }
  };
  EXPECT_THAT(user_error_of([] { ConversationWriter("vicuna", NoEos()); }), HasSubstr("EOS token"));
  EXPECT_THAT(user_error_of([] { ConversationWriter("chat", CharacterTokenizer()); }),
              HasSubstr("no chat_template"));
  EXPECT_THAT(user_error_of([] { ConversationWriter("chat", CharacterTokenizer("[INST]")); }),
              HasSubstr("doesn't write the messages it is given; take vicuna or alpaca"));
}

/// Only answers with their end are targets; a chunk without any is left out.
TEST(Conversations, OnlyAnswersAreTargets) {
  const TemporaryFolder directory;
  DatasetSettings settings;
  settings.kind = "text";
  settings.path = directory.write("sharegpt.json", "[" + std::string(two_rounds) + "]").string();
  const CharacterTokenizer tokenizer;
  const auto source = open_documents(settings, tokenizer, ReadOptions{.conversations = "vicuna"});
  const TrainingChunks chunks(*source, tokenizer, {.context_length = 512});
  ASSERT_EQ(chunks.count(), 1);
  std::vector<int32_t> ids(512), targets(512), learned;
  EXPECT_EQ(chunks.chunk(0, ids, targets), chunks.targets());
  for (size_t i = 0; i < targets.size(); ++i) {
    if (targets[i] < 0) continue;
    EXPECT_EQ(targets[i], ids[i + 1]);
    learned.push_back(targets[i]);
  }
  EXPECT_EQ(tokenizer.decode(learned, false), " Hello!</s> Because.</s>");

  const auto again = open_documents(settings, tokenizer, ReadOptions{.conversations = "vicuna"});
  const TrainingChunks short_chunks(*again, tokenizer, {.context_length = 16});
  EXPECT_LT(short_chunks.count(), 5);  // of the 16 that the text fills
  EXPECT_EQ(short_chunks.tokens_of(0), 16);
}

/// As validation data of a chain may be, and mixtures.
TEST(Conversations, TextsAmongThemAreLearnedWhole) {
  const TemporaryFolder directory;
  DatasetSettings settings;
  settings.kind = "text";
  settings.path =
      directory
          .write("mixed.jsonl",
                 "{\"text\": \"plain\"}\n{\"instruction\": \"q\", \"output\": \"a\"}\n{}")
          .string();
  const CharacterTokenizer tokenizer;
  const auto source = open_documents(settings, tokenizer, ReadOptions{.conversations = "vicuna"});
  Document document;
  ASSERT_TRUE(source->next(document));
  EXPECT_EQ(document.text, "plain");
  EXPECT_TRUE(document.targets.empty());
  ASSERT_TRUE(source->next(document));
  EXPECT_THAT(answers(document), ElementsAre(" a</s>"));
  EXPECT_THAT(user_error_of([&] { source->next(document); }),
              HasSubstr("mixed.jsonl:3: conversations"));
}

/// A merge over the border of prompt and answer: the token that holds both is learned.
TEST(Conversations, ATokenOnTheBorderIsLearned) {
  class Pairs : public CharacterTokenizer {
   public:
    std::vector<int32_t> encode(std::string_view text, bool special) const override {
      std::vector<int32_t> ids;
      for (size_t i = 0; i < text.size(); i += 2) {
        ids.push_back(CharacterTokenizer::encode(text.substr(i, 1), special)[0] +
                      (i + 1 < text.size() ? 1000 : 0));
      }
      return ids;
    }
  };
  Document document{0, "abcdef"};
  document.targets = {{3, 6}};
  EXPECT_THAT(encode_document(Pairs(), document), ElementsAre(-1 - 1097, 1099, 1101));
}

}  // namespace
}  // namespace ropesweep::data
