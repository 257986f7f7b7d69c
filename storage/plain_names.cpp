// A name is plain when it is one component of a path.
#include "storage/plain_names.h"

#include <algorithm>
#include <filesystem>

#include "experiments/error.h"

namespace ropesweep {
namespace {

constexpr size_t kLongestName = 200;  // file systems take 255 bytes, and ours get suffixes

void check_id(const std::string& id) {
  const bool plain = !id.empty() && id.size() <= kLongestName && id != "." && id != ".." &&
                     id.find_first_of(std::string("/\0", 2)) == std::string::npos;
  if (!plain) {
    throw_user_error(
        "the store holds the id '{}', which is no plain name: it is damaged, or was not written by "
        "ropesweep",
        id.substr(0, kLongestName));
  }
}

void check_checkpoint(const std::string& text) {
  const std::filesystem::path path(text);
  const bool climbs = std::find(path.begin(), path.end(), "..") != path.end();
  if (path.is_absolute() || climbs || text.find('\0') != std::string::npos) {
    throw_user_error(
        "the store names the checkpoint '{}', which is not below its directory: it is damaged, or "
        "was not written by ropesweep",
        text);
  }
}

}  // namespace

void check_names(const CellRecord& record) { check_id(record.cell.id); }

void check_names(const FineTuneRecord& record) {
  check_id(record.fine_tune.id);
  check_checkpoint(record.outcome.checkpoint);
}

}  // namespace ropesweep
