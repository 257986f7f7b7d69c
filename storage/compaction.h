// A journal written anew: what its events add up to in place of the events. Begun by a run whose
// journal holds much that nothing needs any more (attempts' beginnings, losses that a curve has
// taken up, results that were run again) or records of an older version. Written beside, synced and
// renamed: a crash at any moment leaves the old journal or the new one, and both say the same.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "storage/journal.h"
#include "storage/results.h"

namespace ropesweep {

/// A new journal that holds `contents`, in place of what is there. Durable on return. Errors:
/// transient; what was there is untouched then, and nothing is left beside it.
std::unique_ptr<Journal> write_journal(const std::filesystem::path& file,
                                       const StoreContents& contents);

/// Whether writing a journal of so many bytes anew pays: it is large, and twice what its contents
/// need (estimated from a sample of them).
bool worth_compacting(int64_t journal_bytes, const StoreContents& contents);

/// Which journal a compacted one replaced, and its length: a published file made from that one is
/// older, not foreign. Kept in the provenance.
inline constexpr const char* kJournalBefore = "journal_before";
struct JournalBefore {
  std::string identity;
  int64_t bytes = 0;
};
std::string to_text(const JournalBefore& before);
/// Nothing when there was none, or the text is none of ours.
std::optional<JournalBefore> journal_before(const StoreContents& contents);

}  // namespace ropesweep
