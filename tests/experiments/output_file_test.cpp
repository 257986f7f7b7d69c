// Files written with every step checked. /dev/full is a disk without room.
#include "experiments/output_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cerrno>
#include <fstream>
#include <iterator>

#include "experiments/error.h"
#include "tests/temporary_folder.h"

namespace ropesweep {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class OutputFileTest : public testing::Test {
 protected:
  static std::string text_of(const fs::path& file) {
    std::ifstream stream(file, std::ios::binary);
    return {std::istreambuf_iterator<char>(stream), {}};
  }
  static std::string message_of(const std::function<void()>& act) {
    try {
      act();
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), FailureKind::transient);
      return error.what();
    }
    return "nothing was thrown";
  }
  size_t files() const {
    return static_cast<size_t>(
        std::distance(fs::directory_iterator(directory_.path()), fs::directory_iterator()));
  }

  TemporaryFolder directory_;
};

TEST_F(OutputFileTest, WritesReplacesAndAppends) {
  const fs::path path = directory_ / "file";
  const std::string large(300'000, 'x');
  for (const bool again : {false, true}) {
    OutputFile file(path, OutputFile::Mode::replace);
    file.write("one ");
    file.write(large);
    file.sync();
    file.close();
    EXPECT_EQ(text_of(path), "one " + large) << again;
  }
  OutputFile file(path, OutputFile::Mode::append);
  file.write("!");
  file.flush();
  EXPECT_EQ(text_of(path), "one " + large + "!");
}

TEST_F(OutputFileTest, ADiskMayBeMendedAndPermissionsStay) {
  for (const int error : {ENOSPC, EDQUOT, EIO, ESTALE}) {
    EXPECT_TRUE(FileError(error, "").may_pass()) << error;
  }
  for (const int error : {EACCES, EROFS, ENOENT, EMFILE, EFBIG}) {
    EXPECT_FALSE(FileError(error, "").may_pass()) << error;
  }
}

TEST_F(OutputFileTest, AFullDiskNamesFileReasonAndRemedy) {
  const std::string message = message_of([] {
    OutputFile file("/dev/full", OutputFile::Mode::append);
    file.write("text");
    file.close();
  });
  EXPECT_THAT(message, HasSubstr("/dev/full"));
  EXPECT_THAT(message, HasSubstr("No space left on device"));
  EXPECT_THAT(message, HasSubstr("free some space"));
}

TEST_F(OutputFileTest, ADirectoryThatIsGoneIsSaid) {
  const fs::path path = directory_ / "gone" / "file";
  const std::string message = message_of([&] { OutputFile(path, OutputFile::Mode::replace); });
  EXPECT_THAT(message, HasSubstr(path.string()));
  EXPECT_THAT(message, HasSubstr("is its directory still there?"));
  EXPECT_FALSE(try_write_whole(path, "text"));
}

TEST_F(OutputFileTest, AWholeFileIsTheOldOneOrTheNewOne) {
  const fs::path path = directory_ / "file";
  write_whole(path, "old", true);
  write_whole(path, "new", false);
  EXPECT_EQ(text_of(path), "new");
  // A directory of that name can't be replaced by a file.
  const fs::path taken = directory_ / "taken";
  fs::create_directories(taken / "below");
  EXPECT_THAT(message_of([&] { write_whole(taken, "text", false); }), HasSubstr(taken.string()));
  EXPECT_EQ(files(), 2U) << "nothing is left beside";
}

TEST_F(OutputFileTest, RightsAreTheUsersUmask) {
  for (const mode_t mask : {0002, 0022, 0077}) {
    const mode_t before = ::umask(mask);
    const fs::path path = directory_ / std::to_string(mask);
    write_whole(path, "text", false);
    ::umask(before);
    struct stat status {};
    ASSERT_EQ(::stat(path.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0666 & ~mask);
  }
}

}  // namespace
}  // namespace ropesweep
