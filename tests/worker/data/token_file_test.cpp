// What the disk refuses is told by the writer, at whichever call its buffers are written out.
#include "worker/data/token_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "tests/full_disk.h"
#include "tests/temporary_folder.h"

namespace ropesweep::data {
namespace {

void write_file(const std::filesystem::path& file, rlim_t room) {
  const testing::FullDisk full(room);
  TokenFileWriter writer(file, std::string(64, 'a'));
  std::vector<int32_t> ids(100);
  std::iota(ids.begin(), ids.end(), 0);
  writer.add(ids);
  writer.end_document(0, 1);
  writer.finish(0, false);
}

TEST(TokenFile, AFullDiskIsToldWhereverItEnds) {
  const TemporaryFolder folder;
  const auto file = folder / "t.tokens";
  const auto bytes = sizeof(TokenFileHeader) + 100 * sizeof(int32_t) + sizeof(TokenDocument);
  // Within the table's own file, the header, behind it, and one byte short of all.
  for (const rlim_t room : {rlim_t{10}, rlim_t{100}, rlim_t{sizeof(TokenFileHeader)}, bytes - 1}) {
    try {
      write_file(file, room);
      ADD_FAILURE() << room << " bytes are too few";
    } catch (const TokenFileError& error) {
      EXPECT_THAT(error.what(), ::testing::HasSubstr("can't be written: File too large"));
    }
    EXPECT_TRUE(std::filesystem::is_empty(folder.path())) << room;
  }
  write_file(file, bytes);
  EXPECT_EQ(std::filesystem::file_size(file), bytes);
}

}  // namespace
}  // namespace ropesweep::data
