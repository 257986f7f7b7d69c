// `check`: what it finds in a store that was harmed, and what --repair brings back.
#include <gtest/gtest.h>

#include <fstream>

#include "storage/journal.h"
#include "storage/lock.h"
#include "storage/posix_file.h"
#include "storage/snapshot.h"
#include "tests/storage/sample_store.h"

namespace ropesweep {
namespace {

using testing::fill;

namespace fs = std::filesystem;

/// A filled, published and closed store whose fine-tune's weights are there.
class CheckTest : public ::testing::Test {
 protected:
  CheckTest() {
    const auto store = Store::open(file_);
    fill(*store);
    fs::create_directories(directory_ / "s.d/checkpoints/f0");
    std::ofstream(directory_ / "s.d/checkpoints/f0/config.json") << "{}";
    store->publish();
  }

  void flip_byte(const fs::path& path, size_t at) const {
    std::vector<uint8_t> bytes = read_file(path);
    bytes.at(at) ^= 0x10;
    replace_file(path, bytes);
  }

  std::string findings() const {
    std::string text;
    for (const std::string& finding : check_store(file_, false).findings) text += finding + "\n";
    return text;
  }

  /// Every result of `fill` is there.
  void expect_all_results() const {
    const StoreContents contents = read_store(file_);
    ASSERT_EQ(contents.cells.size(), 4u);
    EXPECT_EQ(contents.cells[0].status, "finished");
    EXPECT_EQ(contents.cells[0].outcome.measures.size(), 2u);
    EXPECT_EQ(contents.cells[1].failure, "bad data");
    EXPECT_EQ(contents.cells[2].status, "finished");
    EXPECT_EQ(contents.cells[3].status, "pending");
    EXPECT_EQ(contents.fine_tunes.at(0).outcome.curve.step.size(), 3u);
    EXPECT_EQ(contents.attempts.size(), 4u);
  }

  TemporaryFolder directory_;
  fs::path file_ = directory_ / "s.h5", journal_ = directory_ / "s.d/journal";
};

TEST_F(CheckTest, FindsNothingInASoundStore) { EXPECT_EQ(findings(), ""); }

TEST_F(CheckTest, TellsATornTailAndCutsIt) {
  std::ofstream(journal_, std::ios::app) << "RSWF torn";
  EXPECT_NE(findings().find("torn tail of 9 bytes"), std::string::npos) << findings();
  EXPECT_TRUE(check_store(file_, true).repaired);
  EXPECT_EQ(findings(), "");
  expect_all_results();
}

TEST_F(CheckTest, BringsBackADamagedEndFromThePublishedFile) {
  flip_byte(journal_, fs::file_size(journal_) - 5);
  EXPECT_NE(findings().find("its end is damaged"), std::string::npos) << findings();
  EXPECT_THROW(Store::open(file_), Error) << "an acknowledged result must not be cut in silence";
  EXPECT_TRUE(check_store(file_, true).repaired);
  EXPECT_EQ(findings(), "");
  expect_all_results();
}

TEST_F(CheckTest, BringsBackADamagedMiddle) {
  {
    const auto store = Store::open(file_);
    store->skipped("c3", "after the snapshot");
    store->sync();
  }
  flip_byte(journal_, 200);
  EXPECT_NE(findings().find("with good records after them"), std::string::npos) << findings();
  EXPECT_THROW(Store::open(file_), Error);
  EXPECT_THROW(read_store(file_), Error);
  EXPECT_TRUE(check_store(file_, true).repaired);
  EXPECT_TRUE(fs::exists(directory_ / "s.d/journal.damaged-1"));
  EXPECT_EQ(findings(), "");
  EXPECT_EQ(read_store(file_).cells.at(0).status, "finished");
}

TEST_F(CheckTest, RebuildsADamagedOrMissingPublishedFile) {
  flip_byte(file_, 50);
  EXPECT_NE(findings().find("s.h5"), std::string::npos);
  EXPECT_TRUE(check_store(file_, true).repaired);
  EXPECT_EQ(findings(), "");
  fs::remove(file_);
  EXPECT_NE(findings().find("missing"), std::string::npos);
  EXPECT_TRUE(check_store(file_, true).repaired);
  EXPECT_EQ(findings(), "");
  EXPECT_EQ(read_snapshot(file_).cells.size(), 4u);
}

TEST_F(CheckTest, TellsAPublishedFileThatDiffersFromItsJournal) {
  StoreContents contents = read_store(file_);
  contents.cells.change(0, [](CellRecord& cell) { cell.outcome.measures[0].sum_nll += 1; });
  write_snapshot(file_, contents, read_snapshot_stamp(file_));
  EXPECT_NE(findings().find("/cells differs"), std::string::npos) << findings();
  EXPECT_TRUE(check_store(file_, true).repaired);
  EXPECT_EQ(findings(), "");
}

TEST_F(CheckTest, NotesWeightsThatAreGoneAndKeepsTheirResults) {
  fs::remove_all(directory_ / "s.d/checkpoints/f0");
  const CheckReport report = check_store(file_, true);
  EXPECT_TRUE(report.findings.empty());
  ASSERT_EQ(report.notes.size(), 1u);
  EXPECT_NE(report.notes[0].find("the weights of fine-tune f0 are gone"), std::string::npos);
  EXPECT_EQ(read_store(file_).fine_tunes.at(0).status, "finished");
}

TEST_F(CheckTest, RefusesToRepairAStoreInUse) {
  const auto store = Store::open(file_);
  EXPECT_THROW(check_store(file_, true), Error);
  store->skipped("c3", "a run is going on");
  store->sync();
  EXPECT_EQ(findings(), "") << "what a run has not published yet is no finding";
}

TEST_F(CheckTest, NothingThereIsTheUsersError) {
  EXPECT_THROW(check_store(directory_ / "none.h5", true), Error);
  EXPECT_FALSE(fs::exists(directory_ / "none.d"));
}

}  // namespace
}  // namespace ropesweep
