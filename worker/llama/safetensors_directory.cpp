// A model directory's weight files: one model.safetensors, or an index that maps tensors to shards.
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "experiments/error.h"
#include "experiments/json_text.h"
#include "worker/llama/safetensors.h"

namespace ropesweep::llama {
namespace {

using nlohmann::json;

constexpr const char* whole_file = "model.safetensors";
constexpr const char* index_file = "model.safetensors.index.json";

/// tensor → shard. A shard must be a plain file name: nothing may lead out of the directory.
std::map<std::string, std::string> read_index(const std::filesystem::path& directory) {
  const std::filesystem::path file = directory / index_file;
  std::ifstream stream(file, std::ios::binary);
  if (!stream) {
    throw_user_error("{}: holds neither {} nor {}", directory.string(), whole_file, index_file);
  }
  std::map<std::string, std::string> shards;
  try {
    shards = parse_json(stream).at("weight_map").get<std::map<std::string, std::string>>();
  } catch (const json::exception& error) {
    throw_user_error("{}: malformed index: {}", file.string(), error.what());
  }
  for (const auto& [tensor, shard] : shards) {
    const std::filesystem::path name(shard);
    if (shard.empty() || shard == "." || shard == ".." || name.is_absolute() ||
        name.filename() != name || shard.find('\0') != std::string::npos) {
      throw_user_error("{}: tensor {} lies in '{}': shards must be plain names in the directory",
                       file.string(), tensor, shard);
    }
  }
  return shards;
}

}  // namespace

std::vector<std::string> weight_files(const std::filesystem::path& directory) {
  if (std::filesystem::exists(directory / whole_file)) return {whole_file};
  std::set<std::string> files = {index_file};
  for (const auto& [tensor, shard] : read_index(directory)) files.insert(shard);
  return {files.begin(), files.end()};
}

SafetensorsDirectory::SafetensorsDirectory(const std::filesystem::path& directory)
    : directory_(directory) {
  if (std::filesystem::exists(directory / whole_file)) {
    const auto reader = std::make_shared<const SafetensorsReader>(directory / whole_file);
    for (const std::string& name : reader->names()) readers_of_[name] = reader;
    return;
  }
  std::map<std::string, std::shared_ptr<const SafetensorsReader>> opened;
  for (const auto& [tensor, shard] : read_index(directory)) {
    auto& reader = opened[shard];
    if (!reader) reader = std::make_shared<const SafetensorsReader>(directory / shard);
    readers_of_[tensor] = reader;
  }
}

std::vector<std::string> SafetensorsDirectory::names() const {
  std::vector<std::string> names;
  for (const auto& [name, reader] : readers_of_) names.push_back(name);
  return names;
}

std::pair<FileTensor, const SafetensorsReader*> SafetensorsDirectory::tensor(
    const std::string& name) const {
  const auto found = readers_of_.find(name);
  if (found == readers_of_.end()) {
    throw_user_error("{}: tensor {} is missing from its weights", directory_.string(), name);
  }
  return {found->second->tensor(name), found->second.get()};
}

}  // namespace ropesweep::llama
