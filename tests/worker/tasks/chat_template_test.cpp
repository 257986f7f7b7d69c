// A question through a checkpoint's chat template, and clear refusals.
#include "worker/tasks/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "experiments/error.h"

namespace ropesweep::tasks {
namespace {

using testing::HasSubstr;

/// A tokenizer of which only the chat template matters; BOS is "<s>".
class TemplateOnly : public llama::Tokenizer {
 public:
  explicit TemplateOnly(std::string chat_template) {
    chat_template_ = std::move(chat_template);
    bos_id_ = 1;
  }
  std::vector<int32_t> encode(std::string_view, bool) const override { return {}; }
  std::string decode(const std::vector<int32_t>&, bool) const override { return "<s>"; }
  int64_t vocabulary() const override { return 2; }
  int32_t id_of(std::string_view) const override { return -1; }
};

// As SmolLM2-135M-Instruct has it.
const char* const smollm2 =
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ "
    "'<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging "
    "Face<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] "
    "+ '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ "
    "'<|im_start|>assistant\n' }}{% endif %}";

TEST(ChatTemplate, BringsItsDefaultSystemMessageUnlessThereIsOne) {
  EXPECT_EQ(apply_chat_template(TemplateOnly(smollm2), "Hi"),
            "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging "
            "Face<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(apply_chat_template(TemplateOnly(smollm2), "Hi", "Be brief."),
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
            "<|im_start|>assistant\n");
}

TEST(ChatTemplate, HasTheTokenizersBos) {
  EXPECT_EQ(apply_chat_template(
                TemplateOnly("{{ bos_token }}[INST] {{ messages[0].content }} [/INST]"), "Hi"),
            "<s>[INST] Hi [/INST]");
}

TEST(ChatTemplate, WhatCanNotBeRenderedIsRefused) {
  const auto refusal = [](const std::string& source) -> std::string {
    try {
      apply_chat_template(TemplateOnly(source), "Hi");
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), FailureKind::user);
      return error.what();
    }
    return "no error";
  };
  EXPECT_EQ(
      refusal(""),
      "instruction_template: the checkpoint has no chat_template in tokenizer_config.json; set "
      "it to false");
  EXPECT_EQ(
      refusal("{% include 'x' %}"),
      "instruction_template: chat template, line 1: 'include' is a statement that isn't known; "
      "set it to false");
  EXPECT_THAT(refusal("[INST]"), HasSubstr("doesn't write the messages"));
}

}  // namespace
}  // namespace ropesweep::tasks
