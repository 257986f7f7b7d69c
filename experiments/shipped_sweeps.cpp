// Names, texts, and where the files are that the texts refer to.
#include "experiments/shipped_sweeps.h"

#include <algorithm>
#include <map>
#include <optional>

#include "experiments/nearest_name.h"
#include "experiments/shipped_sweeps_text.h"
#include "experiments/sweep_parts.h"

namespace ropesweep {
namespace {

namespace fs = std::filesystem;

const std::map<std::string, std::string>& texts() {
  static const std::map<std::string, std::string> all(kShippedSweeps.begin(), kShippedSweeps.end());
  return all;
}

/// experiments/sweeps of the source tree that has `name`'s file: above the program, as where it was
/// built, else where its sources were then. Empty: neither is there.
fs::path source_directory(const std::string& name) {
  const fs::path sweeps = fs::path("experiments") / "sweeps";
  std::error_code error;
  fs::path folder = fs::read_symlink("/proc/self/exe", error).parent_path();
  for (; folder.has_relative_path(); folder = folder.parent_path()) {
    if (fs::exists(folder / sweeps / (name + ".toml"))) return folder / sweeps;
  }
  const fs::path built_from = fs::path(kSourceDirectory) / sweeps;
  return fs::exists(built_from / (name + ".toml")) ? built_from : fs::path();
}

}  // namespace

std::vector<std::string> shipped_sweep_names() {
  std::vector<std::string> names;
  for (const auto& [name, text] : texts()) names.push_back(name);
  return names;
}

std::string shipped_sweep_list() {
  return fmt::format("{}", fmt::join(shipped_sweep_names(), ", "));
}

Sweep read_shipped_sweep(const std::string& name, const fs::path& directory) {
  SweepOrigin origin(name + ".toml");
  origin.shipped = true;
  origin.directory = directory.empty() ? source_directory(name) : directory;
  if (!origin.directory.empty()) origin.file = (origin.directory / origin.file).string();
  return parse_sweep(texts().at(name), origin, name);
}

Sweep find_sweep(const std::string& file_or_name) {
  const bool is_path = file_or_name.find('/') != std::string::npos;
  const bool is_file = fs::exists(file_or_name) && !fs::is_directory(file_or_name);
  if (is_path || is_file) return read_sweep(file_or_name);
  if (texts().contains(file_or_name)) return read_shipped_sweep(file_or_name);
  const std::string nearest =
      nearest_name(fs::path(file_or_name).stem().string(), shipped_sweep_names());
  throw_user_error("{}: neither a file nor a sweep of the program{}; those are {}", file_or_name,
                   nearest.empty() ? "" : fmt::format(": did you mean {}?", nearest),
                   shipped_sweep_list());
}

}  // namespace ropesweep
