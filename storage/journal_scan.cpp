// Reading a journal: frame by frame, telling a torn tail from damage.
#include <fcntl.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include "experiments/error.h"
#include "storage/journal.h"
#include "storage/journal_format.h"

namespace ropesweep {
namespace {

class Scanner {
 public:
  Scanner(const std::filesystem::path& path, const RecordReader& on_record,
          const JournalScanOptions& options)
      : path_(path), on_record_(on_record), options_(options), file_(open_file(path, O_RDONLY)) {}

  JournalHead head() {
    read_header();
    return {result_.identity, file_size(file_, path_)};
  }

  JournalScan scan() {
    read_header();
    // Fixed now: what another process appends meanwhile is the next reader's.
    result_.file_bytes = std::min(file_size(file_, path_), options_.to);
    int64_t offset = std::max(options_.from, static_cast<int64_t>(kHeaderBytes));
    result_.valid_bytes = offset;
    while (offset < result_.file_bytes) {
      if (const std::optional<int64_t> end = read_frame(offset)) {
        deliver(offset);
        offset = result_.valid_bytes = *end;
        continue;
      }
      const std::optional<int64_t> next = find_frame(offset + 1);
      if (!next) break;
      result_.gaps.push_back({offset, *next});
      offset = *next;
    }
    return result_;
  }

 private:
  void read_header() {
    std::vector<uint8_t> header(kHeaderBytes);
    const size_t count = read_at(file_, 0, header, path_);
    const bool is_journal = count == kHeaderBytes &&
                            std::memcmp(header.data(), kJournalMagic, sizeof kJournalMagic) == 0;
    const bool is_whole =
        is_journal && header_crc(header) == get_u32(header.data() + kHeaderCrcOffset);
    if (!is_whole && options_.any_header) {
      result_.damaged_header = true;
      return;
    }
    if (!is_journal) throw_user_error("{}: not a ropesweep journal", path_.string());
    if (!is_whole) {
      throw_transient_error(
          "{}: the header is damaged; see 'ropesweep check', which repairs with --repair",
          path_.string());
    }
    const uint32_t version = get_u32(header.data() + kVersionOffset);
    if (version > kJournalFormat) {
      throw_user_error(
          "{}: written by a newer ropesweep (journal format {}, this one reads up to {}); use that "
          "version",
          path_.string(), version, kJournalFormat);
    }
    result_.identity = header_identity(header);
  }

  /// Reads the frame at `offset` into payload_ and returns its end; nothing when it isn't valid.
  std::optional<int64_t> read_frame(int64_t offset) {
    uint8_t header[kFrameHeaderBytes];
    if (read_at(file_, offset, header, path_) < kFrameHeaderBytes) return std::nullopt;
    if (get_u32(header) != kFrameMagic) return std::nullopt;
    const uint64_t length = get_u64(header + kFrameLengthOffset);
    const int64_t start = offset + static_cast<int64_t>(kFrameHeaderBytes);
    if (length > static_cast<uint64_t>(std::max<int64_t>(result_.file_bytes - start, 0))) {
      return std::nullopt;
    }
    payload_.resize(length);
    if (read_at(file_, start, payload_, path_) < length) return std::nullopt;
    if (frame_crc(header + kFrameLengthOffset, payload_) != get_u32(header + kFrameCrcOffset)) {
      return std::nullopt;
    }
    return start + static_cast<int64_t>(length);
  }

  /// The first valid frame at or after `offset`; leaves it in payload_.
  std::optional<int64_t> find_frame(int64_t offset) {
    constexpr int64_t kBlock = int64_t{1} << 20;
    const int64_t step = std::clamp(result_.file_bytes - offset, int64_t{0}, kBlock);
    std::vector<uint8_t> block(static_cast<size_t>(step) + 3);  // a magic may straddle two blocks
    for (; offset < result_.file_bytes; offset += step) {
      const size_t count = read_at(file_, offset, block, path_);
      for (size_t i = 0; i + 4 <= count && i < static_cast<size_t>(step); ++i) {
        if (get_u32(block.data() + i) != kFrameMagic) continue;
        const int64_t candidate = offset + static_cast<int64_t>(i);
        if (read_frame(candidate)) return candidate;
      }
    }
    return std::nullopt;
  }

  void deliver(int64_t offset) {
    std::span<const uint8_t> rest = payload_;
    while (!rest.empty()) {
      const size_t length = rest.size() < kRecordHeaderBytes ? SIZE_MAX : get_u32(rest.data());
      if (length > rest.size() - std::min(rest.size(), kRecordHeaderBytes)) {
        throw_transient_error("{}: the frame at byte {} holds a malformed record", path_.string(),
                              offset);
      }
      on_record_(rest.subspan(kRecordHeaderBytes, length));
      rest = rest.subspan(kRecordHeaderBytes + length);
      ++result_.records;
    }
    ++result_.frames;
  }

  const std::filesystem::path& path_;
  const RecordReader& on_record_;
  const JournalScanOptions options_;
  OwnedDescriptor file_;
  JournalScan result_;
  std::vector<uint8_t> payload_;
};

}  // namespace

JournalScan scan_journal(const std::filesystem::path& path, const RecordReader& on_record,
                         const JournalScanOptions& options) {
  return Scanner(path, on_record, options).scan();
}

JournalHead read_journal_head(const std::filesystem::path& path) {
  const RecordReader none;
  return Scanner(path, none, {}).head();
}

}  // namespace ropesweep
