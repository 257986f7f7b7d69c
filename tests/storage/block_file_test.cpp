// A file through blocks: more than fits into memory, in any order, cut, on a disk that fails.
#include "storage/block_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <algorithm>
#include <functional>
#include <numeric>
#include <random>

#include "experiments/output_file.h"
#include "storage/posix_file.h"
#include "tests/full_disk.h"
#include "tests/temporary_folder.h"

namespace ropesweep {
namespace {

constexpr size_t kBlock = BlockFile::kBlockBytes;
constexpr size_t kTooMuch = (BlockFile::kMostBlocks + 16) * kBlock + 12345;

class BlockFileTest : public ::testing::Test {
 protected:
  /// Pieces of all sizes all over the file, as a vector would have them.
  void scatter(int pieces) {
    std::uniform_int_distribution<size_t> offset(0, kTooMuch - 1), logarithm(0, 20);
    for (int i = 0; i < pieces; ++i) {
      const size_t begin = offset(random_);
      const size_t count = std::min(size_t{1} << logarithm(random_), kTooMuch - begin);
      std::vector<uint8_t> bytes(count);
      std::iota(bytes.begin(), bytes.end(), static_cast<uint8_t>(random_()));
      EXPECT_TRUE(blocks_.write(begin, bytes));
      std::ranges::copy(bytes, expected_.begin() + static_cast<std::ptrdiff_t>(begin));
    }
  }

  void expect_reads(int pieces) {
    std::uniform_int_distribution<size_t> offset(0, kTooMuch - 1);
    for (int i = 0; i < pieces; ++i) {
      const size_t begin = offset(random_), count = std::min(2 * kBlock, kTooMuch - begin);
      std::vector<uint8_t> bytes(count, 0xcc);
      ASSERT_TRUE(blocks_.read(begin, bytes));
      ASSERT_TRUE(std::ranges::equal(bytes, std::span(expected_).subspan(begin, count)));
    }
  }

  const TemporaryFolder folder_;
  const std::filesystem::path path_ = folder_ / "file";
  const OwnedDescriptor file_ = open_file(path_, O_RDWR | O_CREAT);
  BlockFile blocks_{file_, path_};
  std::vector<uint8_t> expected_ = std::vector<uint8_t>(kTooMuch);
  std::mt19937 random_{7};
};

TEST_F(BlockFileTest, HoldsWhatWasWrittenInAnyOrder) {
  scatter(400);
  expect_reads(50);
  scatter(400);
  expect_reads(50);
  EXPECT_EQ(blocks_.crc(kTooMuch), crc32_z(0, expected_.data(), kTooMuch));
  blocks_.finish(kTooMuch);
  EXPECT_TRUE(read_file(path_) == expected_);
}

TEST_F(BlockFileTest, IsCutToItsLengthAndZeroWhereNothingWasWritten) {
  scatter(300);
  const size_t length = 10 * kBlock + 77;
  EXPECT_EQ(blocks_.crc(length), crc32_z(0, expected_.data(), length));
  blocks_.finish(length);
  expected_.resize(length);
  EXPECT_TRUE(read_file(path_) == expected_);
}

TEST_F(BlockFileTest, MayEndInZeros) {
  const size_t length = 3 * kBlock / 2;
  EXPECT_TRUE(blocks_.write(0, std::vector<uint8_t>(length)));
  blocks_.finish(length);
  EXPECT_EQ(read_file(path_), std::vector<uint8_t>(length));
}

TEST_F(BlockFileTest, StaysInMemoryWhileItFits) {
  const std::vector<uint8_t> bytes(BlockFile::kMostBlocks * kBlock, 1);
  EXPECT_TRUE(blocks_.write(0, bytes));
  EXPECT_EQ(std::filesystem::file_size(path_), 0U);
  blocks_.finish(bytes.size());
  EXPECT_TRUE(read_file(path_) == bytes);
}

TEST_F(BlockFileTest, AFullDiskIsToldOnceAskedForAndTheWriterReadsWhatItWrote) {
  {
    const testing::FullDisk full(20 * kBlock + 99);
    scatter(600);
  }
  expect_reads(50);
  const auto size = std::filesystem::file_size(path_);
  scatter(100);  // there is room again, but the file is given up
  expect_reads(50);
  EXPECT_EQ(std::filesystem::file_size(path_), size);
  for (const auto& ask : std::initializer_list<std::function<void()>>{
           [&] { blocks_.check(); }, [&] { blocks_.crc(1); }, [&] { blocks_.finish(1); }}) {
    try {
      ask();
      ADD_FAILURE() << "no error";
    } catch (const FileError& error) {
      EXPECT_NE(std::string(error.what()).find(path_.string()), std::string::npos) << error.what();
    }
  }
}

TEST_F(BlockFileTest, WhatTheDiskDoesNotGiveBackIsAnError) {
  scatter(600);
  ASSERT_GT(std::filesystem::file_size(path_), 0U);
  std::filesystem::resize_file(path_, 0);
  std::vector<uint8_t> all(kTooMuch);
  EXPECT_FALSE(blocks_.read(0, all));
  EXPECT_THROW(blocks_.check(), FileError);
}

}  // namespace
}  // namespace ropesweep
