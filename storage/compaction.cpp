// Contents as events of bounded size, and when they are worth writing.
#include "storage/compaction.h"

#include <algorithm>
#include <system_error>
#include <vector>

#include "storage/state.h"

namespace ropesweep {
namespace {

constexpr int64_t kLeastCompacted = int64_t{32}
                                    << 20;  ///< bytes; a smaller one is read in a moment
constexpr size_t kRecordsPerEvent = 500;
constexpr size_t kBytesPerFrame = size_t{16} << 20;
constexpr size_t kSampled = 200;

nlohmann::json empty_event() {
  return {{"event", "imported"},
          {"cells", nlohmann::json::array()},
          {"fine_tunes", nlohmann::json::array()},
          {"attempts", nlohmann::json::array()},
          {"provenance", nlohmann::json::object()}};
}

void append(Journal& journal, const nlohmann::json& event) {
  journal.append(encode_event(event));
  if (journal.unsynced_bytes() > kBytesPerFrame) journal.sync();
}

/// `records` under `key`, some hundreds an event.
template <typename Records>
void append_all(Journal& journal, const char* key, const Records& records) {
  for (size_t first = 0; first < records.size(); first += kRecordsPerEvent) {
    nlohmann::json event = empty_event();
    const size_t end = std::min(first + kRecordsPerEvent, records.size());
    for (size_t i = first; i < end; ++i) event[key].push_back(records[i]);
    append(journal, event);
  }
}

/// What the records take in a journal, from evenly spaced ones of them.
template <typename Records>
int64_t estimated_bytes(const Records& records) {
  if (records.empty()) return 0;
  const size_t stride = std::max<size_t>(1, records.size() / kSampled);
  size_t bytes = 0, taken = 0;
  for (size_t i = 0; i < records.size(); i += stride, ++taken) {
    bytes += nlohmann::json::to_cbor(nlohmann::json(records[i])).size();
  }
  return static_cast<int64_t>(static_cast<double>(bytes) / static_cast<double>(taken) *
                              static_cast<double>(records.size()));
}

}  // namespace

std::unique_ptr<Journal> write_journal(const std::filesystem::path& file,
                                       const StoreContents& contents) {
  std::filesystem::path beside = file;
  beside += ".new";
  try {
    std::unique_ptr<Journal> journal = Journal::create(beside);
    nlohmann::json provenance = empty_event();
    provenance["provenance"] = contents.provenance.text;
    append(*journal, provenance);
    append_all(*journal, "cells", contents.cells);
    append_all(*journal, "fine_tunes", contents.fine_tunes);
    append_all(*journal, "attempts", contents.attempts);
    journal->sync();
    journal->move_to(file);
    return journal;
  } catch (...) {
    std::error_code ignored;
    std::filesystem::remove(beside, ignored);
    throw;
  }
}

bool worth_compacting(int64_t journal_bytes, const StoreContents& contents) {
  if (journal_bytes < kLeastCompacted) return false;
  return journal_bytes >
         2 * (estimated_bytes(contents.cells) + estimated_bytes(contents.fine_tunes) +
              estimated_bytes(contents.attempts));
}

std::string to_text(const JournalBefore& before) {
  return before.identity + " " + std::to_string(before.bytes);
}

std::optional<JournalBefore> journal_before(const StoreContents& contents) {
  const auto found = contents.provenance.text.find(kJournalBefore);
  if (found == contents.provenance.text.end()) return std::nullopt;
  const size_t space = found->second.find(' ');
  if (space == std::string::npos) return std::nullopt;
  return JournalBefore{found->second.substr(0, space),
                       std::strtoll(found->second.c_str() + space, nullptr, 10)};
}

}  // namespace ropesweep
