// Where the tokenizers' fixtures are, and tokenizers made of changed ones.
#pragma once

#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>
#include <string>

#include "worker/llama/json_place.h"
#include "worker/llama/tokenizer.h"

namespace ropesweep::llama {

inline const std::filesystem::path fixtures =
    std::filesystem::path(ROPESWEEP_SOURCE_DIR) / "tests/reference/tokenizer";
inline const std::filesystem::path tiny =
    std::filesystem::path(ROPESWEEP_SOURCE_DIR) / "experiments/tiny";

/// A directory of files that goes away with the test.
class TokenizerDirectory {
 public:
  TokenizerDirectory()
      : path_(std::filesystem::temp_directory_path() /
              ("tokenizer_test." + std::to_string(std::random_device()()))) {
    std::filesystem::create_directories(path_);
  }
  ~TokenizerDirectory() { std::filesystem::remove_all(path_); }
  TokenizerDirectory(const TokenizerDirectory&) = delete;
  TokenizerDirectory& operator=(const TokenizerDirectory&) = delete;

  void write(const std::string& name, const std::string& text) const {
    std::ofstream(path_ / name, std::ios::binary) << text;
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

inline nlohmann::json base_tokenizer(const std::string& name = "digits") {
  return read_json_file(fixtures / name / "tokenizer.json");
}

inline std::unique_ptr<const Tokenizer> read_content(const nlohmann::json& content) {
  const TokenizerDirectory directory;
  directory.write("tokenizer.json", content.dump());
  return read_tokenizer(directory.path());
}

}  // namespace ropesweep::llama
