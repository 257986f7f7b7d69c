// Chat templates: the one family that is known, and a clear refusal of others.
#include "worker/tasks/chat_template.h"

#include <gtest/gtest.h>

#include "experiments/error.h"

namespace ropesweep::tasks {
namespace {

// As SmolLM2-135M-Instruct has it.
const char* const smollm2 =
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ "
    "'<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging "
    "Face<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] "
    "+ '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ "
    "'<|im_start|>assistant\n' }}{% endif %}";

TEST(ChatTemplate, BringsItsDefaultSystemMessage) {
  EXPECT_EQ(apply_chat_template(smollm2, "Hi"),
            "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging "
            "Face<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
}

TEST(ChatTemplate, SpellsLineBreaksOut) {
  EXPECT_EQ(apply_chat_template("{{ '<|im_start|>system\\nBe brief.<|im_end|>\\n' }}", "Hi"),
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
            "<|im_start|>assistant\n");
}

TEST(ChatTemplate, WithoutASystemMessageHasNone) {
  EXPECT_EQ(apply_chat_template("{{'<|im_start|>' + message['role'] + '<|im_end|>'}}", "Hi"),
            "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
  // The words of this system turn are a variable, not a default.
  EXPECT_EQ(apply_chat_template("{{ '<|im_start|>system\n' + system + '<|im_end|>\n' }}", "Hi"),
            "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
}

TEST(ChatTemplate, OthersAreRefused) {
  EXPECT_THROW(apply_chat_template("", "Hi"), Error);
  EXPECT_THROW(apply_chat_template("{{ '[INST] ' + content + ' [/INST]' }}", "Hi"), Error);
}

}  // namespace
}  // namespace ropesweep::tasks
