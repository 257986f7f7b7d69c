// Documents with known answers, for the tests of FFQA and AltQA.
#pragma once

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "tests/temporary_folder.h"
#include "worker/data/question_set.h"
#include "worker/data/random.h"

namespace ropesweep::data {

inline const llama::Tokenizer& tiny_tokenizer() {
  static const auto tokenizer =
      llama::read_tokenizer(std::filesystem::path(ROPESWEEP_SOURCE_DIR) / "experiments/tiny");
  return *tokenizer;
}

inline std::vector<nlohmann::json> json_lines_of(const std::filesystem::path& file) {
  std::vector<nlohmann::json> records;
  std::ifstream stream(file, std::ios::binary);
  for (std::string line; std::getline(stream, line);) {
    records.push_back(nlohmann::json::parse(line));
  }
  return records;
}

/// `count` words with a sentence of its own before the word `at`.
inline std::string document_with(const std::string& sentence, int64_t at, int64_t count,
                                 uint64_t seed) {
  static const std::vector<std::string> words = {"river", "stone", "old",  "bridge",
                                                 "green", "the",   "town", "road",
                                                 "white", "mill",  "over", "far"};
  Random random(seed, "words", 0);
  std::string text;
  for (int64_t i = 0; i < count; ++i) {
    if (i == at) text += ". " + sentence + " ";
    text += random.pick(words) + (random.chance(10) ? ".\n" : " ");
  }
  return text;
}

inline std::string question_line(const std::string& document, const std::string& question,
                                 const nlohmann::json& answer) {
  const nlohmann::json record = {
      {"document", document}, {"question", question}, {"answer", answer}};
  return record.dump() + "\n";
}

}  // namespace ropesweep::data
