// What the tests of tasks share: a Llama of a few thousand weights drawn at random, with the tiny
// model's tokenizer, in a folder that vanishes; and documents of words.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "experiments/task.h"
#include "tests/temporary_folder.h"
#include "worker/llama/model.h"
#include "worker/llama/tokenizer.h"
#include "worker/tasks/model_cache.h"
#include "worker/tasks/task_runner.h"

namespace ropesweep::tasks {

inline std::string read_file(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

inline void write_file(const std::filesystem::path& file, const std::string& text) {
  std::ofstream(file, std::ios::binary) << text;
}

/// A config.json with the tokenizer beside it: what `init` takes. `bos`: whether a BOS token is
/// named.
inline std::filesystem::path make_init_directory(const std::filesystem::path& directory, bool bos) {
  const std::filesystem::path tiny =
      std::filesystem::path(ROPESWEEP_SOURCE_DIR) / "experiments/tiny";
  std::filesystem::create_directories(directory);
  std::filesystem::copy_file(tiny / "tokenizer.json", directory / "tokenizer.json");
  auto tokenizer = nlohmann::json::parse(read_file(tiny / "tokenizer_config.json"));
  if (!bos) tokenizer.erase("bos_token");
  write_file(directory / "tokenizer_config.json", tokenizer.dump());
  auto config = nlohmann::json::parse(read_file(tiny / "config.json"));
  config["hidden_size"] = 64;
  config["intermediate_size"] = 96;
  config["num_attention_heads"] = 2;
  config["num_key_value_heads"] = 1;
  config["num_hidden_layers"] = 2;
  config["max_position_embeddings"] = 32;
  config["initializer_range"] = 0.2;  // far from uniform, so that losses and tokens differ
  write_file(directory / "config.json", config.dump());
  return directory;
}

/// A whole checkpoint with random weights.
inline std::filesystem::path make_model_directory(const std::filesystem::path& directory,
                                                  bool bos = true) {
  make_init_directory(directory, bos);
  const auto backend = backend::make_cpu_backend(1);
  const llama::Config config = llama::read_config(directory);
  const auto weights = llama::init_weights(*backend, config, backend::Dtype::f32, 7);
  llama::save_checkpoint(*backend, directory, weights, config, backend::Dtype::f32, "none", 1, {});
  return directory;
}

/// About `words` words; another text for each seed.
inline std::string words(int64_t count, uint64_t seed) {
  static const char* const known[] = {"the",   "river", "runs",  "north", "of",    "a",
                                      "city",  "where", "1987",  "was",   "found", "in",
                                      "stone", "and",   "green", "4",     "glass", "hills."};
  std::string text;
  uint64_t x = seed * 2 + 1;
  for (int64_t i = 0; i < count; ++i) {
    x = x * 6364136223846793005u + 1442695040888963407u;
    text += (i > 0 ? " " : "") + std::string(known[(x >> 33) % std::size(known)]);
  }
  return text;
}

/// JSON lines of documents with these numbers of words.
inline std::filesystem::path write_documents(const std::filesystem::path& file,
                                             const std::vector<int64_t>& lengths) {
  std::string lines;
  for (size_t i = 0; i < lengths.size(); ++i) {
    lines += nlohmann::json{{"text", words(lengths[i], i)}}.dump() + "\n";
  }
  write_file(file, lines);
  return file;
}

inline Cell cell_at(int64_t context_length) {
  Cell cell;
  cell.id = std::to_string(context_length);
  cell.context_length = context_length;
  return cell;
}

/// An evaluation of the model in `directory` at these context lengths.
inline Task evaluation_task(const std::filesystem::path& directory, const std::string& kind,
                            const std::vector<int64_t>& context_lengths) {
  Task task;
  task.id = "test";
  task.model = task.weights = task.weights_key = directory.string();
  task.scheme = "none";
  task.dataset.name = task.dataset.kind = kind;
  for (const int64_t length : context_lengths) task.cells.push_back(cell_at(length));
  return task;
}

}  // namespace ropesweep::tasks
