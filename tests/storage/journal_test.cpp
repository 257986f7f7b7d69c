// The journal: every way in which its tail can be torn, damage in the middle, a full disk.
#include "storage/journal.h"

#include <gtest/gtest.h>

#include <fstream>

#include "storage/journal_format.h"
#include "tests/full_disk.h"
#include "tests/storage/sample_store.h"

namespace ropesweep {
namespace {

std::vector<uint8_t> bytes_of(const std::string& text) { return {text.begin(), text.end()}; }

/// Without a sync: these files need not survive anything.
void overwrite(const std::filesystem::path& path, std::span<const uint8_t> bytes) {
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
}

/// What an open journal gives, and the journal itself.
struct Opened {
  std::vector<std::string> records;
  std::unique_ptr<Journal> journal;
};

RecordReader collecting(std::vector<std::string>& records) {
  return [&records](std::span<const uint8_t> record) {
    records.emplace_back(record.begin(), record.end());
  };
}

Opened open(const std::filesystem::path& path) {
  Opened opened;
  opened.journal = Journal::open(path, collecting(opened.records));
  return opened;
}

/// Three frames: one record, two records, one empty and one longer record.
std::vector<int64_t> write_three_frames(const std::filesystem::path& path) {
  const auto journal = Journal::create(path);
  std::vector<int64_t> ends = {journal->durable_bytes()};
  const std::vector<std::vector<std::string>> frames = {
      {"alpha"}, {"beta", "gamma"}, {"", std::string(300, 'd')}};
  for (const auto& frame : frames) {
    for (const std::string& record : frame) journal->append(bytes_of(record));
    journal->sync();
    ends.push_back(journal->durable_bytes());
  }
  return ends;
}

const std::vector<std::string> kAll = {"alpha", "beta", "gamma", "", std::string(300, 'd')};
const size_t kRecordsAfterFrames[] = {0, 1, 3, 5};

TEST(Journal, GivesBackWhatWasSynced) {
  const TemporaryFolder directory;
  write_three_frames(directory / "journal");
  EXPECT_EQ(open(directory / "journal").records, kAll);
}

TEST(Journal, TornAtEveryByteKeepsTheWholeFramesAndGoesOn) {
  const TemporaryFolder directory;
  const auto whole = directory / "whole";
  const std::vector<int64_t> ends = write_three_frames(whole);
  const std::vector<uint8_t> bytes = read_file(whole);
  for (size_t size = kHeaderBytes; size <= bytes.size(); ++size) {
    const auto torn = directory / "torn";
    overwrite(torn, std::span(bytes).first(size));
    size_t frames = 0;
    while (frames + 1 < ends.size() && ends[frames + 1] <= static_cast<int64_t>(size)) ++frames;
    std::vector<std::string> expected(
        kAll.begin(), kAll.begin() + static_cast<long>(kRecordsAfterFrames[frames]));
    {
      Opened opened = open(torn);
      ASSERT_EQ(opened.records, expected) << "cut at " << size;
      ASSERT_EQ(opened.journal->cut_bytes(), static_cast<int64_t>(size) - ends[frames]);
      opened.journal->append(bytes_of("after"));
      opened.journal->sync();
    }
    expected.push_back("after");
    ASSERT_EQ(open(torn).records, expected) << "cut at " << size;
  }
}

TEST(Journal, ATailOfZerosIsCut) {
  const TemporaryFolder directory;
  const auto path = directory / "journal";
  write_three_frames(path);
  std::vector<uint8_t> bytes = read_file(path);
  bytes.resize(bytes.size() + 4096, 0);
  overwrite(path, bytes);
  EXPECT_EQ(open(path).records, kAll);
}

TEST(Journal, EveryDamagedByteBeforeTheLastFrameIsAnErrorThatTellsWhere) {
  const TemporaryFolder directory;
  const auto path = directory / "journal";
  const std::vector<int64_t> ends = write_three_frames(path);
  const std::vector<uint8_t> bytes = read_file(path);
  for (int64_t at = ends[0]; at < ends[2]; ++at) {
    std::vector<uint8_t> damaged = bytes;
    damaged[static_cast<size_t>(at)] ^= 0x40;
    overwrite(path, damaged);
    try {
      open(path);
      FAIL() << "byte " << at << " was not noticed";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), FailureKind::transient);
      EXPECT_NE(std::string(error.what()).find(path.string()), std::string::npos);
      EXPECT_NE(std::string(error.what()).find("check"), std::string::npos);
    }
    EXPECT_EQ(read_file(path), damaged) << "an error must not change the file";
    std::vector<std::string> kept;
    const JournalScan scan = scan_journal(path, collecting(kept));
    ASSERT_EQ(scan.gaps.size(), 1u);
    EXPECT_EQ(scan.gaps[0].from, at < ends[1] ? ends[0] : ends[1]);
    EXPECT_EQ(scan.gaps[0].to, at < ends[1] ? ends[1] : ends[2]);
    EXPECT_EQ(kept.back(), kAll.back());
  }
}

TEST(Journal, ANewerFormatAndAnotherFileAreTheUsersError) {
  const TemporaryFolder directory;
  const auto path = directory / "journal";
  write_three_frames(path);
  std::vector<uint8_t> bytes = read_file(path);
  put_u32(bytes.data() + kVersionOffset, kJournalFormat + 1);
  put_u32(bytes.data() + kHeaderCrcOffset, header_crc(bytes));
  overwrite(path, bytes);
  for (const std::string& text : {std::string("newer"), std::string("not a ropesweep journal")}) {
    try {
      open(path);
      FAIL();
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), FailureKind::user);
      EXPECT_NE(std::string(error.what()).find(text), std::string::npos) << error.what();
    }
    overwrite(path, bytes_of("just some text, long enough for a header"));
  }
}

TEST(Journal, AFullDiskLosesNothingAndALaterSyncSucceeds) {
  const TemporaryFolder directory;
  const auto path = directory / "journal";
  const auto journal = Journal::create(path);
  journal->append(bytes_of("durable"));
  journal->sync();
  const int64_t durable = journal->durable_bytes();
  journal->append(std::vector<uint8_t>(100000, 'x'));
  {
    const testing::FullDisk full(4096);  // some of the frame fits: a short write
    for (int attempt = 0; attempt < 2; ++attempt) {
      try {
        journal->sync();
        FAIL() << "a full disk was not noticed";
      } catch (const Error& error) {
        EXPECT_EQ(error.kind(), FailureKind::transient);
        EXPECT_NE(std::string(error.what()).find(path.string()), std::string::npos);
      }
      EXPECT_EQ(static_cast<int64_t>(std::filesystem::file_size(path)), durable);
    }
  }
  EXPECT_TRUE(journal->has_unsynced());
  journal->append(bytes_of("more"));
  journal->sync();
  const std::vector<std::string> records = open(path).records;
  EXPECT_EQ(records, (std::vector<std::string>{"durable", std::string(100000, 'x'), "more"}));
}

}  // namespace
}  // namespace ropesweep
