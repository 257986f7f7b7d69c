// Published chat templates against transformers (tests/reference/chat_fixtures.py): the text to the
// letter, and the answers in it.
#include "worker/data/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/user_error.h"
#include "worker/data/python_text.h"

namespace ropesweep::data {
namespace {

using nlohmann::json;
using testing::HasSubstr;

std::vector<json> published() {
  std::ifstream file(std::filesystem::path(ROPESWEEP_SOURCE_DIR) /
                     "tests/reference/chat/templates.json");
  return json::parse(file).get<std::vector<json>>();
}

Conversation conversation_of(const json& test) {
  Conversation conversation;
  conversation.system = test["system"];
  for (const json& turn : test["turns"]) {
    const bool asks = conversation.turns.size() % 2 == 0;
    conversation.turns.push_back({asks ? Speaker::user : Speaker::assistant, turn});
  }
  return conversation;
}

std::vector<std::string> names() {
  std::vector<std::string> all;
  for (const json& entry : published()) all.push_back(entry["name"]);
  return all;
}

class PublishedTemplate : public testing::TestWithParam<std::string> {
 protected:
  static json entry_of(const std::string& name) {
    for (const json& entry : published()) {
      if (entry["name"] == name) return entry;
    }
    throw std::out_of_range(name);
  }
  const json entry = entry_of(GetParam());
};

TEST_P(PublishedTemplate, IsRenderedAsTransformersDoes) {
  const ChatTemplate chat(entry["template"].get<std::string>(), entry["bos"], entry["eos"]);
  for (const json& test : entry["cases"]) {
    const Conversation conversation = conversation_of(test);
    if (test.contains("refused")) {
      EXPECT_THAT(user_error_of([&] { chat.write(conversation); }),
                  HasSubstr("the template refuses this: " + test["refused"].get<std::string>()));
      continue;
    }
    std::string text = test["text"];
    // The one template that doesn't end a last answer.
    if (entry["name"] == "Qwen1.5-72B-Chat" && test["turns"].size() % 2 == 0) {
      text += entry["end"].get<std::string>();
    }
    EXPECT_EQ(chat.write(conversation).text, text);
  }
}

/// Each answer with its end, and nothing else.
TEST_P(PublishedTemplate, OnlyAnswersAreTargets) {
  const ChatTemplate chat(entry["template"].get<std::string>(), entry["bos"], entry["eos"]);
  const std::string end = entry["end"];
  for (const json& test : entry["cases"]) {
    if (test.contains("refused")) continue;
    const Conversation conversation = conversation_of(test);
    const Document document = chat.write(conversation);
    ASSERT_EQ(document.targets.size(), conversation.turns.size() / 2);
    for (size_t i = 0; i < document.targets.size(); ++i) {
      const auto& [first, last] = document.targets[i];
      const std::string answer = conversation.turns[2 * i + 1].text;
      EXPECT_THAT(document.text.substr(first, last - first),
                  testing::AnyOf(answer + end, std::string(python_stripped(answer)) + end));
      EXPECT_TRUE(i == 0 || first > document.targets[i - 1].end);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, PublishedTemplate, testing::ValuesIn(names()),
                         [](const testing::TestParamInfo<std::string>& named) {
                           std::string name = named.param;
                           for (char& c : name) c = std::isalnum(c) != 0 ? c : '_';
                           return name;
                         });

TEST(ChatTemplate, AnswersThatAreNotWrittenOnceAreRefused) {
  Conversation conversation;
  conversation.turns = {{Speaker::user, "q"}, {Speaker::assistant, "Answer"}};
  const auto chat = [](const std::string& written) {
    return ChatTemplate("{% for m in messages %}{{ " + written + " }}{% endfor %}", "", "");
  };
  const auto refusal = [&](const std::string& written) {
    return user_error_of([&] { chat(written).write(conversation); });
  };
  EXPECT_EQ(chat("m.content").write(conversation).text, "qAnswer");
  EXPECT_THAT(refusal("m.content + m.content"), HasSubstr("doesn't write each answer once"));
  EXPECT_THAT(refusal("m.content[:3]"), HasSubstr("doesn't write each answer once"));
  EXPECT_THAT(refusal("m.role"), HasSubstr("doesn't write each answer once"));
}

}  // namespace
}  // namespace ropesweep::data
