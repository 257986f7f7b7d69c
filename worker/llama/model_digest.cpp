// What identifies a model's content: one SHA-256 over the files that its figures depend on.
#include <fstream>
#include <vector>

#include "experiments/error.h"
#include "experiments/sha256.h"
#include "worker/llama/adapter_directory.h"
#include "worker/llama/checkpoint.h"
#include "worker/llama/safetensors.h"

namespace ropesweep::llama {
namespace {

/// Name and length go before the content, so that no two directories read the same.
void add_file(Sha256& sha, const std::filesystem::path& directory, const std::string& name) {
  const std::filesystem::path file = directory / name;
  std::ifstream stream(file, std::ios::binary);
  if (!stream) throw_user_error("{}: cannot be read", file.string());
  const std::string head = fmt::format("{}\n{}\n", name, std::filesystem::file_size(file));
  sha.add(head.data(), head.size());
  sha.add(stream);
  if (stream.bad()) throw_transient_error("{}: reading failed", file.string());
}

}  // namespace

std::string digest_of_files(const std::filesystem::path& directory,
                            const std::vector<std::string>& names) {
  Sha256 sha;
  for (const std::string& name : names) {
    if (std::filesystem::is_regular_file(directory / name)) add_file(sha, directory, name);
  }
  return sha.hex();
}

std::string model_digest(const std::filesystem::path& directory) {
  std::vector<std::string> names;
  if (!is_adapter(directory) || std::filesystem::exists(directory / "config.json")) {
    names.emplace_back("config.json");
  }
  for (const char* name : {"tokenizer.json", "tokenizer.model", "tokenizer_config.json"}) {
    if (std::filesystem::exists(directory / name)) names.emplace_back(name);
  }
  // Read beside a tokenizer.model only.
  if (!std::filesystem::exists(directory / "tokenizer.json") &&
      std::filesystem::exists(directory / "added_tokens.json")) {
    names.emplace_back("added_tokens.json");
  }
  std::string base;  // of an adapter: its weights are others' too
  if (is_adapter(directory)) {
    names.insert(names.end(), {"adapter_config.json", "adapter_model.safetensors"});
    base = model_digest(base_of_adapter(directory));
  } else {
    for (const std::string& name : weight_files(directory)) names.push_back(name);
  }
  Sha256 sha;
  for (const std::string& name : names) add_file(sha, directory, name);
  sha.add(base.data(), base.size());
  return sha.hex();
}

}  // namespace ropesweep::llama
