// Which kind of tokenizer a directory holds.
#include "worker/llama/tokenizer.h"

#include "experiments/error.h"
#include "worker/llama/adapter_directory.h"
#include "worker/llama/bpe_tokenizer.h"
#include "worker/llama/checkpoint.h"
#include "worker/llama/sentencepiece_tokenizer.h"

namespace ropesweep::llama {

bool has_tokenizer(const std::filesystem::path& directory) {
  return std::filesystem::exists(directory / "tokenizer.json") ||
         std::filesystem::exists(directory / "tokenizer.model");
}

std::filesystem::path tokenizer_directory(const std::filesystem::path& directory) {
  return directory_with({"tokenizer.json", "tokenizer.model"}, directory);
}

std::unique_ptr<const Tokenizer> read_tokenizer(const std::filesystem::path& named) {
  const std::filesystem::path directory = tokenizer_directory(named);
  std::unique_ptr<Tokenizer> tokenizer;
  if (std::filesystem::is_regular_file(directory / "tokenizer.json")) {
    tokenizer = read_bpe_tokenizer(directory);
  } else if (std::filesystem::is_regular_file(directory / "tokenizer.model")) {
    tokenizer = read_sentencepiece_tokenizer(directory);
  } else {
    throw_user_error(
        "{}: no such file, nor a tokenizer.model; a checkpoint directory holds its tokenizer",
        (directory / "tokenizer.json").string());
  }
  tokenizer->digest_ =
      digest_of_files(directory, {"tokenizer.json", "tokenizer.model", "tokenizer_config.json",
                                  "added_tokens.json", "chat_template.jinja"});
  return tokenizer;
}

}  // namespace ropesweep::llama
