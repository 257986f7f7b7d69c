// Solved questions, prompt, ids.
#include "worker/tasks/choice_prompt.h"

#include <algorithm>

#include "experiments/error.h"
#include "worker/data/python_text.h"
#include "worker/tasks/chat_template.h"

namespace ropesweep::tasks {

namespace {

/// The harness's `fewshot_random_seed`.
constexpr uint32_t shot_seed = 1234;

std::vector<int32_t> encode(const llama::Tokenizer& tokenizer, const DatasetSettings& settings,
                            const std::string& text) {
  const bool special = settings.bos == "auto" && !settings.instruction_template;
  std::vector<int32_t> ids = tokenizer.encode(text, special);
  if (settings.bos != "yes") return ids;
  if (tokenizer.bos_id() < 0) {
    throw_user_error("bos = yes, but tokenizer_config.json names no bos_token; choose auto or no");
  }
  ids.insert(ids.begin(), tokenizer.bos_id());
  return ids;
}

}  // namespace

ChoiceIds split_ids(const llama::Tokenizer& tokenizer, const DatasetSettings& settings,
                    const std::string& prompt, const std::vector<std::string>& options) {
  const size_t spaces = data::trailing_space(prompt);
  const std::string context = prompt.substr(0, prompt.size() - spaces);
  const std::string between = prompt.substr(prompt.size() - spaces);
  ChoiceIds ids;
  ids.prompt = encode(tokenizer, settings, context);
  for (const std::string& option : options) {
    std::vector<int32_t> whole = encode(tokenizer, settings, context + between + option);
    if (ids.prompt.empty() || whole.size() <= ids.prompt.size()) {
      throw_user_error("option '{}' adds no token to its prompt, or the prompt is empty", option);
    }
    whole.erase(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(ids.prompt.size()));
    ids.options.push_back(std::move(whole));
  }
  return ids;
}

ShotPicker::ShotPicker(const data::ChoiceQuestions& solved, int64_t shots, bool same_file)
    : solved_(solved),
      shots_(shots),
      // One more, in case one is the question itself; of HellaSwag, which names no split to measure
      // and none to draw from, the harness takes these for the same.
      drawn_(shots + (same_file || solved.layout == "hellaswag" ? 1 : 0)),
      same_file_(same_file),
      random_(shot_seed) {
  const auto count = static_cast<int64_t>(solved.questions.size());
  if (shots > 0 && count < drawn_) {
    throw_user_error("shots = {}: the file to take them from has {} questions", shots, count);
  }
}

std::vector<const data::ChoiceQuestion*> ShotPicker::next(const data::ChoiceQuestion& question) {
  std::vector<const data::ChoiceQuestion*> shots;
  if (shots_ == 0) return shots;
  const auto wanted = static_cast<size_t>(shots_);
  const auto take = [&](const data::ChoiceQuestion& solved) {
    const bool is_itself = same_file_ && solved.index == question.index;
    if (!is_itself && shots.size() < wanted) shots.push_back(&solved);
  };
  if (solved_.layout == "mmlu") {
    for (const data::ChoiceQuestion& solved : solved_.questions) {
      if (solved.subject == question.subject) take(solved);
    }
    if (shots.size() < wanted) {
      throw_user_error("shots = {}: the file to take them from has {} about {}", shots_,
                       shots.size(), question.subject);
    }
    return shots;
  }
  const auto count = static_cast<int64_t>(solved_.questions.size());
  for (const int64_t index : random_.sample(count, drawn_)) {
    take(solved_.questions[static_cast<size_t>(index)]);
  }
  return shots;
}

std::string choice_prompt(const llama::Tokenizer& tokenizer, const DatasetSettings& settings,
                          const std::string& layout, const data::ChoiceQuestion& question,
                          const std::vector<const data::ChoiceQuestion*>& shots) {
  const std::string description = data::choice_description(layout, question.subject);
  std::string text;
  for (const data::ChoiceQuestion* shot : shots) {
    text += shot->prompt + " " + shot->options[static_cast<size_t>(shot->answer)] + "\n\n";
  }
  text += question.prompt;
  if (!settings.instruction_template) return description + text;
  return apply_chat_template(tokenizer, text, description);
}

std::vector<std::string> choice_continuations(const DatasetSettings& settings,
                                              const data::ChoiceQuestion& question) {
  std::vector<std::string> texts = question.options;
  if (!settings.instruction_template) {
    for (std::string& text : texts) text.insert(0, " ");
  }
  return texts;
}

int64_t shots_of(const DatasetSettings& settings, const std::string& layout) {
  if (settings.shots < 0 && settings.instruction_template) return 0;
  const int64_t shots = settings.shots < 0 ? data::leaderboard_shots(layout) : settings.shots;
  if (shots > 0 && layout == "truthfulqa") {
    throw_user_error("data set '{}': truthfulqa has its solved questions in the prompt; shots = 0",
                     settings.name);
  }
  if (shots > 0 && settings.shots_path.empty()) {
    throw_user_error(
        "data set '{}': {} solved questions stand before each, and there is no file to take them "
        "from; give one (shots_path, --shots-data), such as the training split, or shots = 0",
        settings.name, shots);
  }
  return shots;
}

}  // namespace ropesweep::tasks
