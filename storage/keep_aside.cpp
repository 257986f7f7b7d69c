// Names, links and copies.
#include "storage/keep_aside.h"

#include <fcntl.h>

#include <system_error>
#include <vector>

#include "experiments/error.h"
#include "experiments/output_file.h"
#include "storage/posix_file.h"

namespace ropesweep {

namespace fs = std::filesystem;

fs::path free_name(const fs::path& directory, const std::string& stem, const std::string& end) {
  for (int i = 1;; ++i) {
    const fs::path name = directory / fmt::format("{}-{}{}", stem, i, end);
    if (!fs::exists(name)) return name;
  }
}

void keep_file(const fs::path& file, const fs::path& name) {
  std::error_code error;
  fs::create_hard_link(file, name, error);
  if (error) fs::copy_file(file, name, error);
  if (error) throw_file_error(name, "be created", error.value());
}

void keep_tail(const fs::path& file, int64_t from, const fs::path& name) {
  const OwnedDescriptor descriptor = open_file(file, O_RDONLY);
  std::vector<uint8_t> tail(static_cast<size_t>(file_size(descriptor, file) - from));
  tail.resize(read_at(descriptor, from, tail, file));
  replace_file(name, tail);
}

}  // namespace ropesweep
