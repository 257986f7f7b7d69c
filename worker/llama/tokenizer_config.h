// tokenizer_config.json and what lies beside it: names of special tokens, switches, the chat
// template.
#pragma once

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "worker/llama/json_place.h"

namespace ropesweep::llama {

class TokenizerConfig {
 public:
  /// Reads DIR/tokenizer_config.json and DIR/chat_template.jinja; either may be missing. Errors:
  /// user error naming file and field.
  explicit TokenizerConfig(const std::filesystem::path& directory);

  /// The file's object, empty without a file.
  JsonPlace place() const { return {json_, file_}; }

  /// The id of the token that `key` names, as a text or an object with `content`; −1 for null,
  /// `absent` where the file doesn't mention it. `id_of`: −1 for a text that is no token, which is
  /// a user error.
  int32_t special_id(const std::string& key, const std::function<int32_t(std::string_view)>& id_of,
                     int32_t absent) const;

  /// The chat template's text; empty when there is none.
  const std::string& chat_template() const { return chat_template_; }

 private:
  void read_chat_template();

  std::string file_;
  nlohmann::json json_ = nlohmann::json::object();
  std::string chat_template_;
};

}  // namespace ropesweep::llama
