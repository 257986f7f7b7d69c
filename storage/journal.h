// An append-only file of records that survives crashes: what was synced is there again, what was
// being written is cut, and damage in between is told, never skipped in silence. It knows nothing
// of what the records mean.
//
// File:   header, then frames. One frame is one group commit: written at once, then synced.
// Header: "ropeswpJ" · u32 format version · u32 CRC-32 of version and identity · 16 bytes identity.
// Frame:  u32 "RSWF" · u32 CRC-32 of length and payload · u64 payload length · payload.
// Payload: records, each u32 length · bytes. All numbers little-endian.
//
// A frame is begun only after the one before it is durable. So a bad frame with a good one after it
// was durable once: damage. A bad frame at the end is a torn write: it was never acknowledged.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "storage/posix_file.h"

namespace ropesweep {

inline constexpr uint32_t kJournalFormat = 1;

/// Bytes from … to of a journal that hold no valid frame though valid frames follow.
struct JournalGap {
  int64_t from = 0, to = 0;
};

struct JournalScanOptions {
  int64_t from = 0;        ///< where a frame begins; 0: the first one
  int64_t to = INT64_MAX;  ///< the file is read as if it ended there
  /// A header that can't be read is told in the result instead of being an error. One of a newer
  /// format stays an error.
  bool any_header = false;
};

struct JournalScan {
  std::string identity;         ///< 32 hex digits, drawn when the journal was created
  bool damaged_header = false;  ///< then there is no identity
  int64_t valid_bytes = 0;      ///< end of the last valid frame
  int64_t file_bytes = 0;       ///< more than valid_bytes: a torn tail
  int64_t frames = 0, records = 0;
  std::vector<JournalGap> gaps;  ///< damage between valid frames
};

using RecordReader = std::function<void(std::span<const uint8_t>)>;

/// Reads every valid record in order, without changing the file; safe while another process
/// appends. Errors: user error when the file is no journal or of a newer format; transient when it
/// can't be read.
JournalScan scan_journal(const std::filesystem::path& path, const RecordReader& on_record,
                         const JournalScanOptions& options = {});

/// A journal's identity from its header, and its size. Errors: as scan_journal.
struct JournalHead {
  std::string identity;
  int64_t file_bytes = 0;
};
JournalHead read_journal_head(const std::filesystem::path& path);

class Journal {
 public:
  /// A new, empty journal; replaces what is there. Durable on return. Errors: transient.
  static std::unique_ptr<Journal> create(const std::filesystem::path& path);
  /// An existing one: its records go to `on_record`, then a torn tail is cut; `before_cut` may
  /// throw to keep it. Errors: as scan_journal; transient error naming file and offset when there
  /// are gaps (`check` explains).
  static std::unique_ptr<Journal> open(
      const std::filesystem::path& path, const RecordReader& on_record,
      const std::function<void(const Journal&)>& before_cut = [](const Journal&) {});

  /// Renames the file, over what is there, durably. Errors: transient.
  void move_to(const std::filesystem::path& path);

  /// Buffers a record.
  void append(std::span<const uint8_t> record);
  /// Writes what is buffered as one frame and syncs it. On an error (transient, naming the file)
  /// the file is cut back to what was durable and the buffer is kept, so that a later sync may
  /// succeed.
  void sync();

  bool has_unsynced() const { return !buffer_.empty(); }
  size_t unsynced_bytes() const { return buffer_.size(); }
  int64_t durable_bytes() const { return durable_bytes_; }
  const std::string& identity() const { return identity_; }
  /// Bytes that `open` cut off the end.
  int64_t cut_bytes() const { return cut_bytes_; }

 private:
  Journal(std::filesystem::path path, OwnedDescriptor file, std::string identity, int64_t bytes);
  void cut_back();

  std::filesystem::path path_;
  OwnedDescriptor file_;
  std::string identity_;
  int64_t durable_bytes_ = 0;
  int64_t cut_bytes_ = 0;
  std::vector<uint8_t> buffer_;  ///< a frame in the making: room for its header, then records
};

}  // namespace ropesweep
