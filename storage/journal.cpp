// Appending and group commit; reading is journal_scan.cpp.
#include "storage/journal.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <random>
#include <utility>

#include "experiments/error.h"
#include "experiments/output_file.h"
#include "storage/journal_format.h"

namespace ropesweep {
namespace {

std::vector<uint8_t> new_header() {
  std::vector<uint8_t> header(kHeaderBytes, 0);
  std::memcpy(header.data(), kJournalMagic, sizeof kJournalMagic);
  put_u32(header.data() + kVersionOffset, kJournalFormat);
  std::random_device random;
  for (size_t i = 0; i < kIdentityBytes; i += 4) {
    put_u32(header.data() + kIdentityOffset + i, static_cast<uint32_t>(random()));
  }
  put_u32(header.data() + kHeaderCrcOffset, header_crc(header));
  return header;
}

}  // namespace

Journal::Journal(std::filesystem::path path, OwnedDescriptor file, std::string identity,
                 int64_t bytes)
    : path_(std::move(path)),
      file_(std::move(file)),
      identity_(std::move(identity)),
      durable_bytes_(bytes) {}

std::unique_ptr<Journal> Journal::create(const std::filesystem::path& path) {
  const std::vector<uint8_t> header = new_header();
  replace_file(path, header);
  return std::unique_ptr<Journal>(
      new Journal(path, open_file(path, O_RDWR), header_identity(header), int64_t{kHeaderBytes}));
}

std::unique_ptr<Journal> Journal::open(const std::filesystem::path& path,
                                       const RecordReader& on_record,
                                       const std::function<void(const Journal&)>& before_cut) {
  const JournalScan scan = scan_journal(path, on_record);
  if (!scan.gaps.empty()) {
    throw_transient_error(
        "{}: bytes {} to {} are damaged, with good records after them; see 'ropesweep check', "
        "which "
        "repairs with --repair",
        path.string(), scan.gaps.front().from, scan.gaps.front().to);
  }
  std::unique_ptr<Journal> journal(
      new Journal(path, open_file(path, O_RDWR), scan.identity, scan.valid_bytes));
  journal->cut_bytes_ = scan.file_bytes - scan.valid_bytes;
  before_cut(*journal);
  if (journal->cut_bytes_ > 0) {
    journal->cut_back();
    sync_data(journal->file_, path);
  }
  return journal;
}

void Journal::move_to(const std::filesystem::path& path) {
  std::error_code error;
  std::filesystem::rename(path_, path, error);
  if (error) throw_file_error(path, "be replaced", error.value());
  path_ = path;
  sync_parent(path);
}

void Journal::append(std::span<const uint8_t> record) {
  if (buffer_.empty()) buffer_.resize(kFrameHeaderBytes);
  const size_t at = buffer_.size();
  buffer_.resize(at + kRecordHeaderBytes + record.size());
  put_u32(buffer_.data() + at, static_cast<uint32_t>(record.size()));
  std::memcpy(buffer_.data() + at + kRecordHeaderBytes, record.data(), record.size());
}

void Journal::sync() {
  if (buffer_.empty()) return;
  seal_frame(buffer_);
  try {
    write_at(file_, durable_bytes_, buffer_, path_);
    // After a failed sync the kernel may have dropped the pages: the frame is written anew next
    // time.
    sync_data(file_, path_);
  } catch (const Error&) {
    cut_back();
    throw;
  }
  durable_bytes_ += static_cast<int64_t>(buffer_.size());
  buffer_.clear();
}

void Journal::cut_back() {
  while (::ftruncate(file_.get(), durable_bytes_) != 0) {
    if (errno != EINTR) {
      throw_file_error(path_, fmt::format("be cut back to {} bytes", durable_bytes_), errno);
    }
  }
}

}  // namespace ropesweep
