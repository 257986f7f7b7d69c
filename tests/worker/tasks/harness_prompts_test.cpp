// Prompts and options equal lm-evaluation-harness's to the letter:
// tests/reference/multiple_choice.py had it write those of a few questions, with and without solved
// ones and a chat template.
#include <gtest/gtest.h>

#include "tests/worker/tasks/tiny_model.h"
#include "worker/tasks/choice_prompt.h"

namespace ropesweep::tasks {
namespace {

std::string lines_of(const nlohmann::json& records) {
  std::string lines;
  for (const nlohmann::json& record : records) lines += record.dump() + "\n";
  return lines;
}

TEST(HarnessPrompts, AreTheSame) {
  const auto reference = nlohmann::json::parse(read_file(
      std::filesystem::path(ROPESWEEP_SOURCE_DIR) / "tests/reference/choice/prompts.json"));
  TemporaryFolder folder;
  const auto directory = make_init_directory(folder / "tiny", true);
  auto config = nlohmann::json::parse(read_file(directory / "tokenizer_config.json"));
  config["chat_template"] = reference["chat_template"];
  write_file(directory / "tokenizer_config.json", config.dump());
  const auto tokenizer = llama::read_tokenizer(directory);
  size_t compared = 0;
  for (const nlohmann::json& entry : reference["layouts"]) {
    const std::string layout = entry["layout"];
    write_file(folder / "records.jsonl", lines_of(entry["records"]));
    write_file(folder / "solved.jsonl", lines_of(entry["solved"]));
    const auto set = data::read_questions(folder / "records.jsonl", "", false, 0);
    EXPECT_EQ(set.layout, layout) << "told by its fields";
    const auto solved = data::read_questions(folder / "solved.jsonl", "", false, 0);
    for (const nlohmann::json& expected : entry["cases"]) {
      DatasetSettings settings;
      settings.instruction_template = expected["chat"];
      ShotPicker picker(solved, expected["shots"], false);
      ASSERT_EQ(set.questions.size(), expected["prompts"].size());
      for (size_t i = 0; i < set.questions.size(); ++i) {
        const data::ChoiceQuestion& question = set.questions[i];
        EXPECT_EQ(choice_prompt(*tokenizer, settings, layout, question, picker.next(question)),
                  expected["prompts"][i].get<std::string>());
        std::vector<std::string> options = choice_continuations(settings, question);
        std::vector<std::string> wanted = expected["options"][i];
        if (layout == "truthfulqa") {  // the harness's are of mc2; ours of both questions
          std::vector<std::string> of_mc2;
          for (const int64_t option : question.mc2) {
            of_mc2.push_back(options[static_cast<size_t>(option)]);
          }
          options = of_mc2;
        }
        EXPECT_EQ(options, wanted);
        ++compared;
      }
    }
  }
  EXPECT_EQ(compared, 4u * (4 + 4 + 4 + 2));
}

}  // namespace
}  // namespace ropesweep::tasks
