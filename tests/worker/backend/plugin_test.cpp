// Libraries beside the program: absent, broken, of another version, and what a user is told.
#include "worker/backend/plugin.h"

#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fstream>

#include "tests/temporary_folder.h"
#include "worker/backend/collective.h"

namespace ropesweep::backend {
namespace {

using testing::HasSubstr;

/// A folder that libraries are looked for in, for as long as this lives.
class PluginTest : public testing::Test {
 protected:
  PluginTest() { ::setenv("ROPESWEEP_CUDA_PLUGIN", (folder_ / "libother.so").c_str(), 1); }
  ~PluginTest() override { ::unsetenv("ROPESWEEP_CUDA_PLUGIN"); }

  TemporaryFolder folder_;
};

TEST_F(PluginTest, SaysWhatItMeansThatThereIsNone) {
  PluginLibrary library("libropesweep_nccl.so", "this build has no NCCL");
  EXPECT_FALSE(library.complete());
  EXPECT_EQ(library.find<void()>("anything"), nullptr);
  EXPECT_EQ(library.why_not(),
            "this build has no NCCL (" + (folder_ / "libropesweep_nccl.so").string() + ")");
}

TEST_F(PluginTest, SaysWhyOneCannotBeOpened) {
  std::ofstream(folder_ / "libropesweep_nccl.so") << "no library";
  const PluginLibrary library("libropesweep_nccl.so", "none");
  EXPECT_FALSE(library.complete());
  EXPECT_THAT(library.why_not(), HasSubstr("libropesweep_nccl.so can't be opened: "));
}

// A stand-in: the C++ library under our name.
TEST_F(PluginTest, FindsFunctionsOrIsOfAnotherVersion) {
  Dl_info info;
  ASSERT_NE(::dladdr(reinterpret_cast<void*>(&std::set_terminate), &info), 0);
  std::filesystem::create_symlink(info.dli_fname, folder_ / "libother.so");
  PluginLibrary library("libropesweep_cuda.so", "none");
  EXPECT_NE(library.find<void()>("__cxa_throw"), nullptr);
  EXPECT_TRUE(library.complete()) << library.why_not();
  EXPECT_EQ(library.find<void()>("ropesweep_none_such"), nullptr);
  EXPECT_EQ(library.why_not(), (folder_ / "libother.so").string() + " is of another version");
}

// No library lies beside this test program.
TEST(NcclGroups, AreRefusedWhereTheBuildHasNone) {
  const auto backend = make_cpu_backend(1);
  for (int again = 0; again < 2; ++again) {
    try {
      make_nccl_id();
      FAIL() << "there is one";
    } catch (const NoDevice& error) {
      EXPECT_THAT(error.what(), HasSubstr("this build has no NCCL ("));
    }
    EXPECT_THROW(make_nccl_collective(*backend, 0, {}), NoDevice);
  }
}

}  // namespace
}  // namespace ropesweep::backend
