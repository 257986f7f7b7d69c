// Reading tokenizer_config.json.
#include "worker/llama/tokenizer_config.h"

namespace ropesweep::llama {

TokenizerConfig::TokenizerConfig(const std::filesystem::path& directory)
    : file_((directory / "tokenizer_config.json").string()) {
  if (std::filesystem::is_regular_file(file_)) {
    json_ = read_json_file(file_);
    place().object();
  }
  const auto template_file = directory / "chat_template.jinja";
  if (std::filesystem::is_regular_file(template_file)) {
    chat_template_ = read_whole_file(template_file);
  } else {
    read_chat_template();
  }
}

void TokenizerConfig::read_chat_template() {
  if (!place().has("chat_template")) return;
  const JsonPlace chat_template = place().at("chat_template");
  if (chat_template.value().is_string()) {
    chat_template_ = chat_template.string();
    return;
  }
  for (size_t i = 0; i < chat_template.size(); ++i) {  // several by name: the default one
    const JsonPlace named = chat_template.at(i);
    if (named.at("name").string() == "default") chat_template_ = named.at("template").string();
  }
}

int32_t TokenizerConfig::special_id(const std::string& key,
                                    const std::function<int32_t(std::string_view)>& id_of,
                                    int32_t absent) const {
  if (!json_.contains(key)) return absent;
  const JsonPlace token = place().at(key);
  if (token.is_null()) return -1;
  const std::string& text =
      token.value().is_object() ? token.at("content").string() : token.string();
  const int32_t id = id_of(text);
  if (id < 0) token.fail(fmt::format("'{}' is no token of the tokenizer beside it", text));
  return id;
}

}  // namespace ropesweep::llama
