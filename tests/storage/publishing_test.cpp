// Publishing a store that is larger than what is kept of its file in memory, on a good disk and on
// full ones.
#include <fcntl.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "experiments/output_file.h"
#include "storage/block_file.h"
#include "storage/file_seal.h"
#include "storage/handle.h"
#include "storage/posix_file.h"
#include "storage/schema.h"
#include "storage/snapshot.h"
#include "tests/full_disk.h"
#include "tests/storage/sample_store.h"

namespace ropesweep {
namespace {

using namespace testing;  // NOLINT: the samples

constexpr size_t kCache = BlockFile::kMostBlocks * BlockFile::kBlockBytes;

/// Cells with long failures, some with two metrics, a fine-tune with a curve: several blocks of
/// rows and more bytes than are kept in memory.
void fill_large(Store& store) {
  constexpr size_t kCells = 6000, kTextBytes = 8000;
  fill(store);
  std::mt19937 random(3);
  std::vector<Cell> cells;
  for (size_t i = 0; i < kCells; ++i) {
    cells.push_back(make_cell(fmt::format("{:020x}", i), "yarn", 256));
  }
  store.plan(cells, {});
  for (const Cell& cell : cells) {
    const AttemptRecord attempt = make_attempt(cell.id, "evaluation", 1, {cell.id});
    if (random() % 4 == 0) {
      store.attempt_ended(attempt, {cell.id}, make_evaluation({cell.id}), false);
    } else {
      const std::string text(kTextBytes, static_cast<char>('a' + random() % 26));
      store.attempt_ended(attempt, {cell.id}, make_failure(FailureKind::user, text), true);
    }
  }
  store.sync();
}

void expect_equal(const Table& a, const Table& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_TRUE(a[i].texts == b[i].texts) << a[i].name;
    EXPECT_TRUE(std::ranges::equal(a[i].numbers, b[i].numbers, [](double x, double y) {
      return x == y || (std::isnan(x) && std::isnan(y));
    })) << a[i].name;
  }
}

class Publishing : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = std::make_unique<TemporaryFolder>();
    store_ = Store::open(*folder_ / "large.h5");
    fill_large(*store_);
  }
  static void TearDownTestSuite() {
    store_.reset();
    folder_.reset();
  }

  void write() const { write_snapshot(file_, store_->contents(), {"journal", 1}); }

  /// Publishes on a disk with so much room per file; the error's text, empty where there is none.
  std::string error_with_room_for(size_t bytes) const {
    const FullDisk full(bytes);
    try {
      write();
      return "";
    } catch (const FileError& error) {
      return error.what();
    }
  }

  static inline std::unique_ptr<TemporaryFolder> folder_;
  static inline std::unique_ptr<Store> store_;
  const TemporaryFolder own_folder_;
  const std::filesystem::path file_ = own_folder_ / "s.h5", beside_ = own_folder_ / "s.h5.new";
};

TEST_F(Publishing, AStoreLargerThanTheMemoryForItReadsBackEqual) {
  write();
  ASSERT_GT(std::filesystem::file_size(file_), kCache + kCache / 8);
  EXPECT_EQ(check_seal(open_file(file_, O_RDONLY), file_), Seal::whole);
  const StoreContents back = read_snapshot(file_);
  for (const std::string& table : table_names()) {
    expect_equal(make_table(back, table), make_table(store_->contents(), table));
  }
  for (size_t i = 0; i < back.cells.size(); ++i) {  // what /internal has
    const CellRecord &a = back.cells[i], &b = store_->contents().cells[i];
    ASSERT_EQ(a.outcome.measures.size(), b.outcome.measures.size());
    for (size_t j = 0; j < a.outcome.measures.size(); ++j) {
      ASSERT_EQ(a.outcome.measures[j].sum_yy, b.outcome.measures[j].sum_yy);
    }
  }
  EXPECT_EQ(back.fine_tunes.at(0).outcome.checkpoint, "checkpoints/f0");
}

TEST_F(Publishing, AFullDiskIsOurErrorWhereverItEndsAndLeavesTheOldFile) {
  write();
  const size_t whole = std::filesystem::file_size(file_);
  write_snapshot(file_, {}, {"old", 1});
  const std::vector<uint8_t> old = read_file(file_);
  for (size_t room = 0; room < whole; room += whole / 5) {
    const std::string error = error_with_room_for(room);
    EXPECT_NE(error.find(beside_.string() + ": cannot be written"), std::string::npos) << error;
    EXPECT_NE(error.find("free some space"), std::string::npos) << error;
    EXPECT_EQ(H5Fget_obj_count(H5F_OBJ_ALL, H5F_OBJ_ALL), 0);
    EXPECT_FALSE(std::filesystem::exists(beside_));
    EXPECT_EQ(read_file(file_), old);
  }
  EXPECT_NE(error_with_room_for(whole - 1), "");
  EXPECT_EQ(error_with_room_for(whole), "");
  EXPECT_EQ(check_seal(open_file(file_, O_RDONLY), file_), Seal::whole);
}

TEST_F(Publishing, WhereNoFileCanBeMadeItSaysSo) {
  try {
    write_snapshot(own_folder_ / "gone" / "s.h5", store_->contents(), {});
    FAIL() << "no error";
  } catch (const FileError& error) {
    EXPECT_NE(std::string(error.what()).find("s.h5.new: cannot be created"), std::string::npos);
  }
  EXPECT_EQ(H5Fget_obj_count(H5F_OBJ_ALL, H5F_OBJ_ALL), 0);
}

}  // namespace
}  // namespace ropesweep
